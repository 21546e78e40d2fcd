"""What a run is asked to do: one validated value, made at the edge and trusted inside."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_S
from latbench.errors import UsageError, reason

EMBEDDED: Final = "embedded"
KEPT: Final = f"{EMBEDDED}@"
"""Before the address of an embedded broker that outlives the run: `latbench ab` keeps one."""
SIMULATED: Final = "sim"
WS_ENGINES: Final = ("picows", "websockets")
KAFKA_CLIENTS: Final = ("librdkafka", "confluent-kafka")
COMPRESSIONS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
ACKS: Final = ("0", "1", "all")
MAX_RATE_HZ: Final = 1_000_000
MAX_PARTITIONS: Final = 10_000
MAX_LINGER_MS: Final = 900_000
MAX_TOPIC_CHARS: Final = 249
MAX_COALESCE_MS: Final = 1_000
MAX_SEED: Final = 2**63 - 1
MAX_PORT: Final = 65_535
MAX_SUBSCRIBERS: Final = 100_000
MAX_SUBSCRIBER_QUEUE: Final = 1_000_000
DROP_OLDEST: Final = "drop-oldest"
DISCONNECT: Final = "disconnect"
SLOW_CLIENT: Final = (DROP_OLDEST, DISCONNECT)
DEFAULT_SUBSCRIBER_QUEUE: Final = 1024
EMBEDDED_PARTITIONS: Final = 4
"""librdkafka's mock cluster makes every topic with four, and can't make topics on demand."""

MAX_SPEED: Final = 0.0
"""How `RunConfig.speed` spells `max` (JSON has no infinity)."""

DEFAULT_SYMBOLS: Final = ("NIFTY", "BANKNIFTY", "RELIANCE", "TCS")
DEFAULT_DURATION_NS: Final = 60 * NS_PER_S
DEFAULT_WARMUP_NS: Final = 2 * NS_PER_S
AUTO: Final = "auto"
MAX_AUTO_WARMUP_NS: Final = 120 * NS_PER_S
"""A fresh broker's JVM took 20 to 40 s here; what has not settled by then will not."""

_SECRET: Final = re.compile(r"pass(word|phrase)|secret|pem|jaas|oauthbearer\.config")
_SECRET_OPTIONS: Final = frozenset({"--token"})
_SYMBOL: Final = re.compile(r'[^\s,"\\\x00-\x1f]{1,32}')
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")
_TOPIC: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_TOPIC_CHARS}}}")


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration of a run, as the result file keeps it."""

    tick_rate_hz: int = 1000
    """Ticks a second over all symbols; of no meaning for a replay."""
    duration_ns: int | None = None
    """The measured span; None: a replay goes to its end."""
    warmup_ns: int = DEFAULT_WARMUP_NS
    symbols: tuple[str, ...] = DEFAULT_SYMBOLS
    broker: str = EMBEDDED
    topic: str = "tick-data"
    partitions: int | None = None
    """None: 1 where the topic is made, else what the topic has."""
    ws_host: str = "127.0.0.1"
    ws_port: int = 0
    """0: a free one."""
    ws_engine: str = "picows"
    kafka_client: str = "librdkafka"
    """Called directly, or through confluent-kafka's classes."""
    acks: str = "all"
    linger_ms: float = 0.0
    compression: str = "none"
    producer: dict[str, str] = {}
    consumer: dict[str, str] = {}
    source: str = SIMULATED
    speed: float = 1.0
    """Of a replay: a factor, or `MAX_SPEED`: as fast as the pipeline takes it."""
    loop: bool = False
    arrivals: Arrivals = Arrivals.CONSTANT
    seed: int = 1
    pin: tuple[int, ...] = ()
    drain_timeout_ns: int = 10 * NS_PER_S
    name: str = ""
    warmup_auto: bool = False
    """The warm-up goes on until the latency has settled, `warmup_ns` at most."""
    delays_injected: bool = False
    """By `latbench selftest`."""
    hiccups: bool = True
    """Whether every process has a hiccup meter."""
    coalesce_ns: int = 0
    """At least so long between two writes of the generator: ticks due meanwhile go together."""
    spin: bool = False
    """Whether generator, relay and consumer look for work without ever sleeping."""
    compiled: bool = True
    """Whether they handle many ticks at once by compiled code, where Wasmtime is there for it."""
    realtime: bool = False
    """Whether they ask for `SCHED_FIFO` and locked memory."""
    allow: tuple[str, ...] = ()
    """Findings that don't make the run invalid."""
    floor: bool = False
    """Whether the floor is measured just before."""
    subscribers: int = 0
    """WebSocket clients that take all ticks from the relay."""
    slow_client: str = DROP_OLDEST
    """What becomes of one that can't keep up."""
    subscriber_queue: int = DEFAULT_SUBSCRIBER_QUEUE
    """How many ticks behind that is."""
    publish_stats: bool = False
    """Whether statistics go to topics beside that of the ticks, once a second."""
    consumer_alone: bool = False
    """`latbench consume`: the load is somebody else's, and its options are of no meaning."""

    @property
    def is_replay(self) -> bool:
        """Whether ticks come from a file."""
        return self.source != SIMULATED

    @property
    def is_embedded(self) -> bool:
        """Whether latbench brings the broker."""
        return self.broker == EMBEDDED or self.broker.startswith(KEPT)

    @property
    def kept_broker(self) -> str:
        """Where an embedded broker listens that was there before the run; "": it gets its own."""
        return self.broker.removeprefix(KEPT) if self.broker.startswith(KEPT) else ""

    @property
    def bounded_duration_ns(self) -> int:
        """The measured span of a source that has no end of its own."""
        return self.duration_ns or DEFAULT_DURATION_NS

    @property
    def effective_linger_ms(self) -> float:
        """What the producer's linger is in the end: `--producer` wins over `--linger`."""
        given = self._of_producer("linger.ms", "queue.buffering.max.ms")
        return self.linger_ms if given is None else float(given)

    @property
    def effective_compression(self) -> str:
        """What compresses the producer's batches in the end, as with `effective_linger_ms`."""
        given = self._of_producer("compression.type", "compression.codec")
        return self.compression if given is None else given

    def _of_producer(self, *names: str) -> str | None:
        """What `--producer` sets by the first of these names that it has."""
        return next((self.producer[name] for name in names if name in self.producer), None)

    @property
    def as_fast_as_possible(self) -> bool:
        """A replay at `--speed max`: no schedule, so *due* is the moment of sending."""
        return self.is_replay and self.speed == MAX_SPEED

    def without_secrets(self) -> RunConfig:
        """The same with passwords and keys blotted out: what may be stored and shown."""
        return msgspec.structs.replace(
            self, producer=_blotted(self.producer), consumer=_blotted(self.consumer)
        )


def is_secret(key: str) -> bool:
    """Whether a librdkafka property's value is nobody's business."""
    return _SECRET.search(key) is not None


def secrets_among(words: Iterable[str]) -> tuple[str | None, ...]:
    """Of each word of a command line the end that is nobody's business; None: it has none.

    A secret is the value of `KEY=VALUE`, by itself or after `--producer=` and the like, and that of
    `--token`.
    """
    found: list[str | None] = []
    before = ""
    for word in words:
        option, _, assignment = word.partition("=") if word.startswith("--") else ("", "", word)
        key, equals, value = assignment.partition("=")
        if before in _SECRET_OPTIONS:
            found.append(word)
        elif option in _SECRET_OPTIONS and option != word:
            found.append(assignment)
        else:
            found.append(value if equals and is_secret(key.lower()) else None)
        before = word
    return tuple(found)


def words_without_secrets(words: Iterable[str]) -> tuple[str, ...]:
    """Words of a command line with passwords and keys blotted out: what may be stored and shown."""
    words = tuple(words)
    return tuple(
        word if secret is None else f"{word[: len(word) - len(secret)]}[secret]"
        for word, secret in zip(words, secrets_among(words), strict=True)
    )


def _blotted(properties: dict[str, str]) -> dict[str, str]:
    return {key: "[secret]" if is_secret(key) else value for key, value in properties.items()}


def parse_tick_rate(text: str) -> int:
    """A whole number of ticks per second from 1 to 1,000,000 (`1_000` and `1,000` are taken)."""
    plain = text.strip().replace("_", "").replace(",", "")
    try:
        rate = float(plain)
    except ValueError:
        raise UsageError(f"tick rate {text!r} is not a number", "write --tick-rate 1000") from None
    if not math.isfinite(rate) or not 1 <= rate <= MAX_RATE_HZ:
        raise UsageError(
            f"tick rate {text!r} is not between 1 and 1,000,000", "write --tick-rate 1000"
        )
    if rate != int(rate):
        raise UsageError(f"tick rate {text!r} is not a whole number", "write --tick-rate 1000")
    return int(rate)


def parse_whole(text: str, option: str, least: int, greatest: int) -> int:
    """A whole number within bounds; `option` names it in the error."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= greatest:
        raise UsageError(
            f"{option} {text!r} is not a whole number from {least:,} to {greatest:,}",
            f"write {option} {max(least, 1)}",
        )
    return value


def parse_linger_ms(text: str) -> float:
    """Milliseconds from 0 to 900,000 (15 minutes, librdkafka's limit)."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_LINGER_MS:
        raise UsageError(
            f"--linger {text!r} is not a number of milliseconds from 0 to {MAX_LINGER_MS:,}",
            "write --linger 1",
        )
    return value


def parse_coalesce_ns(text: str) -> int:
    """Milliseconds from 0 to 1,000, as nanoseconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_COALESCE_MS:
        raise UsageError(
            f"--coalesce {text!r} is not a number of milliseconds from 0 to {MAX_COALESCE_MS:,}",
            "write --coalesce 1",
        )
    return round(value * 1_000_000)


def parse_speed(text: str) -> float:
    """A replay's speed: a factor above 0, or `max` (given back as `MAX_SPEED`)."""
    if text.strip().lower() == "max":
        return MAX_SPEED
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not (math.isfinite(speed) and 0.001 <= speed <= 1e6):
        raise UsageError(
            f"speed {text!r} is not a factor from 0.001 to 1000000", "write --speed 10 or max"
        )
    return speed


def parse_choice(text: str, option: str, choices: tuple[str, ...]) -> str:
    """One of `choices`; `option` names it in the error."""
    if text not in choices:
        raise UsageError(f"{option} {text!r} is not there", f"choose from {', '.join(choices)}")
    return text


def parse_name(text: str) -> str:
    """A run's name: up to 64 letters, digits, `.`, `_` and `-`, as it is part of a file name."""
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"name {text!r} can't be part of a file name",
            "use up to 64 letters, digits, '.', '_' and '-'",
        )
    return text


def parse_symbols(text: str) -> tuple[str, ...]:
    """Comma-separated symbols, each once, of 1 to 32 characters without blanks or quotes."""
    symbols = tuple(part.strip() for part in text.split(",") if part.strip())
    if not symbols:
        raise UsageError(f"symbols {text!r} names none", "write --symbols NIFTY,TCS")
    for symbol in symbols:
        if not _SYMBOL.fullmatch(symbol):
            raise UsageError(
                f"symbol {symbol!r} has a blank, a quote or a backslash, or over 32 characters",
                "write --symbols NIFTY,TCS",
            )
    if len(set(symbols)) < len(symbols):
        twice = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise UsageError(f"symbol {twice!r} is named twice", "name each once")
    return symbols


def parse_topic(text: str) -> str:
    """A Kafka topic name: up to 249 of `A-Z a-z 0-9 . _ -`."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise UsageError(
            f"topic {text!r} is not a Kafka topic name", "use letters, digits, '.', '_' and '-'"
        )
    return text


def parse_properties(items: list[str], which: str) -> dict[str, str]:
    """`key=value` items as a dictionary; a later one replaces an earlier of the same key."""
    properties: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"--{which} {item!r} is not key=value", f"write --{which} socket.nagle.disable=true"
            )
        properties[key.strip()] = value.strip()
    return properties


def read_properties(items: list[str]) -> list[str]:
    """`key=value` items as they are; of each other, which is a file, its lines (`#`: a comment)."""
    read: list[str] = []
    for item in items:
        if "=" in item:
            read.append(item)
            continue
        try:
            lines = Path(item).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = reason(error) if isinstance(error, OSError) else "it is no text"
            raise UsageError(
                f"--kafka {item!r} is not key=value, and no file that can be read: {why}",
                "write --kafka security.protocol=SASL_SSL, or name a file of such lines",
            ) from None
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if not text or text.startswith(("#", "!")):
                continue
            if "=" not in text:
                raise UsageError(
                    f"line {number} of {item} is not key=value", "a line is: sasl.mechanism=PLAIN"
                )
            read.append(text)
    return read


def parse_cpus(text: str, available: set[int]) -> tuple[int, ...]:
    """Comma-separated CPU numbers out of those this process may run on."""
    try:
        cpus = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"pin {text!r} is not a list of CPU numbers", "write --pin 0,1") from None
    for cpu in cpus:
        if cpu not in available:
            listed = ",".join(str(number) for number in sorted(available))
            raise UsageError(f"CPU {cpu} is not there to pin to", f"this machine has {listed}")
    return cpus
