"""librdkafka called directly: the copy that confluent-kafka brings, through ctypes.

confluent-kafka makes Python objects of every message, several of them and one at a time: 2 to 3 µs
for one produced and acknowledged, 1.5 µs for one consumed. librdkafka's C interface takes and gives
whole arrays of messages, which NumPy can fill and read, at 0.3 µs each.

Only what the stages need is declared here, as `rdkafka.h` has it (its ABI is stable since 0.9).
Functions in `blocking` let go of the interpreter while they wait; those in `quick` don't: they are
over within microseconds, and giving the interpreter up and taking it back costs a hand-over.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
from collections.abc import Callable, Mapping
from ctypes import c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t, c_void_p
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from latbench.errors import LatbenchError

PRODUCER: Final = 0
CONSUMER: Final = 1
PARTITION_UNASSIGNED: Final = -1
COPY: Final = 0x2
"""RD_KAFKA_MSG_F_COPY: key and payload are the caller's again when the call returns."""
EACH_PARTITION: Final = 0x8
"""RD_KAFKA_MSG_F_PARTITION: a batch's messages say their partition themselves."""
EVENT_DELIVERY: Final = 0x1
EVENT_STATISTICS: Final = 0x40
QUEUE_FULL: Final = -184


class Message(ctypes.Structure):
    """`rd_kafka_message_t`; one is read by it: NumPy's first call takes as long as ten of these."""

    _fields_ = (
        ("error", c_int),
        ("topic", c_void_p),
        ("partition", c_int32),
        ("payload", c_void_p),
        ("payload_bytes", c_size_t),
        ("key", c_void_p),
        ("key_bytes", c_size_t),
        ("offset", c_int64),
        ("opaque", c_size_t),
    )


MESSAGE: Final = np.dtype(Message)
"""The same for many."""
Messages = np.ndarray[tuple[int], np.dtype[np.void]]
"""An array of `MESSAGE`."""
Addresses = npt.NDArray[np.int64]

_ERROR_BYTES: Final = 512
_BASE: Final = 0x1000
"""Nothing is ever mapped below; an array must not begin at 0."""
_SPAN: Final = 1 << 55
"""Far beyond any address of a process (47 bits, 48 on some)."""


def _package() -> Path | None:
    """confluent-kafka's folder, without importing it (60 ms)."""
    found = importlib.util.find_spec("confluent_kafka")
    return Path(found.origin).parent if found is not None and found.origin else None


def _library_path() -> str | None:
    """Where librdkafka lies: in confluent-kafka's wheel, else where the system has it."""
    package = _package()
    folders = (package.parent / "confluent_kafka.libs", package / ".dylibs") if package else ()
    for folder in folders:
        for path in sorted(folder.glob("librdkafka*")):
            if "++" not in path.name:
                return str(path)
    return ctypes.util.find_library("rdkafka")


def _load() -> tuple[ctypes.CDLL, ctypes.PyDLL]:
    path = _library_path()
    if path is None or ctypes.sizeof(c_void_p) != 8:
        raise LatbenchError(
            "librdkafka's library file can't be found beside confluent-kafka",
            "write --kafka-client confluent-kafka, which needs no file of its own",
        )
    return ctypes.CDLL(path), ctypes.PyDLL(path)


_blocking, _quick = _load()


def _declare(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = library[name]
    function.restype, function.argtypes = result, arguments
    return function


_conf_new = _declare(_quick, "rd_kafka_conf_new", c_void_p)
_conf_set = _declare(
    _quick, "rd_kafka_conf_set", c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t
)
_conf_set_events = _declare(_quick, "rd_kafka_conf_set_events", None, c_void_p, c_int)
STATISTICS_CALLBACK: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t, c_void_p)
_conf_set_stats_cb = _declare(
    _quick, "rd_kafka_conf_set_stats_cb", None, c_void_p, STATISTICS_CALLBACK
)
_new = _declare(_quick, "rd_kafka_new", c_void_p, c_int, c_void_p, c_char_p, c_size_t)
_err2str = _declare(_quick, "rd_kafka_err2str", c_char_p, c_int)
last_error = _declare(_quick, "rd_kafka_last_error", c_int)

topic_new = _declare(_quick, "rd_kafka_topic_new", c_void_p, c_void_p, c_char_p, c_void_p)
produce = _declare(
    _quick,
    "rd_kafka_produce",
    *(c_int, c_void_p, c_int32, c_int, c_char_p, c_size_t, c_char_p, c_size_t, c_void_p),
)
produce_batch = _declare(
    _quick, "rd_kafka_produce_batch", c_int, c_void_p, c_int32, c_int, c_void_p, c_int
)
flush = _declare(_blocking, "rd_kafka_flush", c_int, c_void_p, c_int)

main_queue = _declare(_quick, "rd_kafka_queue_get_main", c_void_p, c_void_p)
io_event_enable = _declare(
    _quick, "rd_kafka_queue_io_event_enable", None, c_void_p, c_int, c_char_p, c_size_t
)
queue_poll_now = _declare(_quick, "rd_kafka_queue_poll", c_void_p, c_void_p, c_int)
event_type = _declare(_quick, "rd_kafka_event_type", c_int, c_void_p)
event_messages = _declare(
    _quick, "rd_kafka_event_message_array", c_size_t, c_void_p, c_void_p, c_size_t
)
event_message_count = _declare(_quick, "rd_kafka_event_message_count", c_size_t, c_void_p)
event_statistics = _declare(_quick, "rd_kafka_event_stats", c_char_p, c_void_p)
event_destroy = _declare(_quick, "rd_kafka_event_destroy", None, c_void_p)

consumer_queue = _declare(_quick, "rd_kafka_queue_get_consumer", c_void_p, c_void_p)
poll_set_consumer = _declare(_quick, "rd_kafka_poll_set_consumer", c_int, c_void_p)
consume_queue = _declare(_blocking, "rd_kafka_consume_queue", c_void_p, c_void_p, c_int)
consume_batch_queue = _declare(
    _quick, "rd_kafka_consume_batch_queue", c_ssize_t, c_void_p, c_int, c_void_p, c_size_t
)
message_destroy = _declare(_quick, "rd_kafka_message_destroy", None, c_void_p)
query_watermark_offsets = _declare(
    _blocking,
    "rd_kafka_query_watermark_offsets",
    *(c_int, c_void_p, c_char_p, c_int32, ctypes.POINTER(c_int64), ctypes.POINTER(c_int64), c_int),
)
partition_list_new = _declare(_quick, "rd_kafka_topic_partition_list_new", c_void_p, c_int)
partition_list_add = _declare(
    _quick, "rd_kafka_topic_partition_list_add", c_void_p, c_void_p, c_char_p, c_int32
)
partition_list_set_offset = _declare(
    _quick,
    "rd_kafka_topic_partition_list_set_offset",
    *(c_int, c_void_p, c_char_p, c_int32, c_int64),
)
partition_list_destroy = _declare(_quick, "rd_kafka_topic_partition_list_destroy", None, c_void_p)
assign = _declare(_blocking, "rd_kafka_assign", c_int, c_void_p, c_void_p)
consumer_close = _declare(_blocking, "rd_kafka_consumer_close", c_int, c_void_p)

topic_destroy = _declare(_quick, "rd_kafka_topic_destroy", None, c_void_p)
queue_destroy = _declare(_quick, "rd_kafka_queue_destroy", None, c_void_p)
destroy = _declare(_blocking, "rd_kafka_destroy", None, c_void_p)


def error_text(code: int) -> str:
    """What librdkafka says of an error code."""
    text: bytes = _err2str(code)
    return text.decode()


def new_client(
    kind: int,
    properties: Mapping[str, str | int | float | bool],
    *,
    events: int = 0,
    statistics_callback: Any = None,
) -> int:
    """A client's handle; `LatbenchError` for what librdkafka refuses."""
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    conf = _conf_new()
    for name, value in properties.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if _conf_set(conf, name.encode(), text.encode(), error, _ERROR_BYTES) != 0:
            raise LatbenchError(f"librdkafka refuses {name}: {error.value.decode()}")
    if events:
        _conf_set_events(conf, events)
    if statistics_callback is not None:
        _conf_set_stats_cb(conf, statistics_callback)
    handle = _new(kind, conf, error, _ERROR_BYTES)
    if not handle:
        raise LatbenchError(f"librdkafka makes no client: {error.value.decode()}")
    return int(handle)


_memory = (ctypes.c_char * _SPAN).from_address(_BASE)


class Records:
    """Fixed-size records at any addresses of this process, copied out many at a time.

    A view of all memory whose items overlap, one at each address: taking items from it copies just
    those, 10 to 30 ns each. The addresses must be true; nothing here can check them.
    """

    def __init__(self, size_bytes: int) -> None:
        assert 0 < size_bytes <= MAX_RECORD_BYTES
        # NumPy counts overlapping items as if each had room of its own
        items = min(_SPAN, (1 << 62) // size_bytes) - size_bytes
        self._at: npt.NDArray[np.void] = np.ndarray(
            (items,), dtype=f"V{size_bytes}", buffer=memoryview(_memory), strides=(1,)
        )

    def copy(self, addresses: Addresses) -> npt.NDArray[np.void]:
        """The records that begin at the addresses."""
        return self._at[addresses - _BASE]


MAX_RECORD_BYTES: Final = 1 << 14
"""Larger ones and NumPy's limit would leave out addresses that a process has (47 bits)."""

_message_records = Records(MESSAGE.itemsize)


def messages_at(addresses: Addresses) -> Messages:
    """The messages that the pointers point to."""
    return _message_records.copy(addresses).view(MESSAGE)
