"""A tick: the stamps it gathers on its way, the hops between them, and its JSON message.

This is the one definition of both; `docs/message.md` describes the message field by field.

The message is a JSON object. Whatever document the source made (a simulated tick, a captured
exchange message) is carried as it is; the generator adds a member `latbench` with its stamps, the
relay its own stamps to that and the two latencies known by then::

    {"timestamp":1732470000.123456,"symbol":"NIFTY", … ,"ask_size":   450,
     "latbench":{"run":"5f1c09ab","seq":               7,
                 "due_ns":      81234567890123,"sent_ns":      81234567945678,
                 "relay_in_ns":      81234567955678,"relay_out_ns":      81234567965678},
     "latency_t1":   0.010000,"latency_t2":   0.010000}

Numbers are padded with blanks to widths that no run outgrows, so that every message of a run has
its fields at the same places: `batch` (compiled code) reads and writes many at once by that. This
module is its plain twin: one message at a time, whatever its layout. Readers decode only what they
need and skip the rest (`msgspec`, 0.7 µs for a 350-byte message).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

RUN_ID_CHARS: Final = 8
"""A run's name inside its messages: 8 hexadecimal digits."""

SEQ_CHARS: Final = 16
STAMP_CHARS: Final = 20
"""Whole groups of four digits, and room for every int64."""


class HopKind(enum.Enum):
    """What a hop is to the total."""

    PART = "part"
    """One of the four that add up to `end_to_end`, exactly and for every tick."""
    TOTAL = "total"
    SIDE = "side"
    """A branch off the tick's way: no part of the total."""
    UNCORRECTED = "uncorrected"
    """Counted from *sent*: hides every stall of the generator (coordinated omission)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hop:
    """One measured interval, from the stamp `start` to the stamp `end`."""

    name: str
    start: str
    end: str
    kind: HopKind
    label: str
    """What happens in it, for people."""

    @property
    def start_column(self) -> str:
        """The result file's column for the first stamp."""
        return f"{self.start}_ns"

    @property
    def end_column(self) -> str:
        """The result file's column for the second stamp."""
        return f"{self.end}_ns"


STAMPS: Final = ("due", "sent", "relay_in", "relay_out", "acked", "consumed")

HOPS: Final = (
    Hop("schedule", "due", "sent", HopKind.PART, "due → sent"),
    Hop("websocket", "sent", "relay_in", HopKind.PART, "T1 · generator → relay"),
    Hop("relay", "relay_in", "relay_out", HopKind.PART, "T2 · relay → producer"),
    Hop("kafka", "relay_out", "consumed", HopKind.PART, "T3 · producer → consumer"),
    Hop("end_to_end", "due", "consumed", HopKind.TOTAL, "due → consumed"),
    Hop("ack", "relay_out", "acked", HopKind.SIDE, "producer → broker's ack"),
    Hop("service", "sent", "consumed", HopKind.UNCORRECTED, "sent → consumed"),
)
FANOUT: Final = Hop("fanout", "relay_in", "received", HopKind.SIDE, "relay → each subscriber")
"""One for each subscriber of each tick: so it is no column of the result file."""
PARTS: Final = tuple(hop for hop in HOPS if hop.kind is HopKind.PART)
HOP_BY_NAME: Final[Mapping[str, Hop]] = {hop.name: hop for hop in (*HOPS, FANOUT)}


Int64 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What a ring's row can hold: anything else in a message makes it no tick."""


class Stamps(msgspec.Struct, frozen=True, gc=False):
    """The member `latbench` of a message; all times are monotonic nanoseconds."""

    run: str
    seq: Int64
    due_ns: Int64
    sent_ns: Int64
    relay_in_ns: Int64 = -1
    relay_out_ns: Int64 = -1
    """The relay's are -1 until it has stamped them."""


class SentTick(msgspec.Struct, frozen=True, gc=False):
    """What the relay reads of a generator's message: the stamps and the symbol."""

    latbench: Stamps
    symbol: str = ""
    product_id: str = ""
    """What Coinbase calls the symbol."""


class RelayedTick(msgspec.Struct, frozen=True, gc=False):
    """What a consumer reads of a relay's message: the stamps and the symbol."""

    latbench: Stamps
    symbol: str = ""
    product_id: str = ""


class _Keyed(msgspec.Struct):
    symbol: str = ""
    product_id: str = ""


decode_sent: Final = msgspec.json.Decoder(SentTick).decode
"""Reads a generator's message; `msgspec.DecodeError` when it is none."""

decode_relayed: Final = msgspec.json.Decoder(RelayedTick).decode
"""Reads a relay's message; `msgspec.DecodeError` when it is none."""

_keyed: Final = msgspec.json.Decoder(_Keyed)


def read_symbol(document: bytes) -> str:
    """The symbol of a JSON object: its `symbol`, else its `product_id`, else ""."""
    keyed = _keyed.decode(document)
    return keyed.symbol or keyed.product_id


def sent_suffix_format(run_id: str) -> bytes:
    """What the generator adds, as a `bytes` format: apply `% (seq, due_ns, sent_ns)`.

    After a document without its closing brace it makes one whole message (0.5 µs).
    """
    return known_suffix_format(run_id) + SENT_FORMAT


def known_suffix_format(run_id: str) -> bytes:
    """The part of it that can be made before the moment of sending: apply `% (seq, due_ns)`."""
    assert len(run_id) == RUN_ID_CHARS
    return b',"latbench":{"run":"%s","seq":%%16d,"due_ns":%%20d,"sent_ns":' % run_id.encode()


SENT_FORMAT: Final = b"%20d}}"
"""The rest: apply `% sent_ns`."""


_STAMPS_HEAD: Final = b',"latbench":'


def relayed_suffix(sent_ns: int, relay_in_ns: int, relay_out_ns: int) -> bytes:
    """What the relay puts in the place of a message's two closing braces.

    Latencies are milliseconds, exact to the nanosecond, 11 characters up to 10 s.
    """
    t1_ms, t1_ns = divmod(relay_in_ns - sent_ns, 1_000_000)
    t2_ms, t2_ns = divmod(relay_out_ns - relay_in_ns, 1_000_000)
    if t1_ms < 0:  # a sender with another clock
        t1_ms, t1_ns = t1_ms + (t1_ns > 0), -t1_ns % 1_000_000
        sign = b"-0" if t1_ms == 0 else b"%d" % t1_ms
        return (
            b',"relay_in_ns":%20d,"relay_out_ns":%20d},"latency_t1":%4s.%06d,"latency_t2":%4d.%06d}'
            % (relay_in_ns, relay_out_ns, sign, t1_ns, t2_ms, t2_ns)
        )
    return (
        b',"relay_in_ns":%20d,"relay_out_ns":%20d},"latency_t1":%4d.%06d,"latency_t2":%4d.%06d}'
        % (relay_in_ns, relay_out_ns, t1_ms, t1_ns, t2_ms, t2_ns)
    )


def splice_relayed(message: bytes, sent_ns: int, relay_in_ns: int, relay_out_ns: int) -> bytes:
    """Add the relay's stamps, and the latencies so far in milliseconds, to a generator's message.

    The fast path (1.6 µs) cuts off the two closing braces. It holds only where the last `{` of the
    message opens the stamps, so that both braces are known to close them and the document; any
    other message takes the plain way through a decoder.
    """
    brace = message.rfind(b"{")
    if (
        message[brace - 12 : brace] == _STAMPS_HEAD
        and message.find(b"}", brace) == len(message) - 2
    ):
        return message[:-2] + relayed_suffix(sent_ns, relay_in_ns, relay_out_ns)
    return splice_relayed_plainly(message, sent_ns, relay_in_ns, relay_out_ns)


def splice_relayed_plainly(
    message: bytes, sent_ns: int, relay_in_ns: int, relay_out_ns: int
) -> bytes:
    """The plain twin of `splice_relayed`: decodes the message and writes it anew."""
    document = msgspec.json.decode(message, type=dict[str, msgspec.Raw])
    stamps = msgspec.json.decode(document["latbench"], type=dict[str, msgspec.Raw])
    stamps["relay_in_ns"] = msgspec.Raw(b"%d" % relay_in_ns)
    stamps["relay_out_ns"] = msgspec.Raw(b"%d" % relay_out_ns)
    document["latbench"] = msgspec.Raw(msgspec.json.encode(stamps))
    document["latency_t1"] = msgspec.Raw(b"%.6f" % ((relay_in_ns - sent_ns) / 1e6))
    document["latency_t2"] = msgspec.Raw(b"%.6f" % ((relay_out_ns - relay_in_ns) / 1e6))
    return msgspec.json.encode(document)
