"""Many ticks at once: messages of one width as a matrix of characters, a row each.

The bulk twin of `tick`: the same numbers read and the same bytes written at 0.1 to 0.3 µs a message
(of a few hundred) in place of 1 to 2. It knows messages by their end, where generator and relay put
their stamps at fixed places; what stands before is the source's and isn't looked at, but for the
symbol. So a message with this run's name and stamps at its end is a tick of this run, whatever its
document is; `StampReader.read_one` says the same of a single message.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.tick import (
    SEQ_CHARS,
    STAMP_CHARS,
    relayed_suffix,
    sent_suffix_format,
)

Chars = npt.NDArray[np.uint8]
"""Text, a row a message: n × width."""
Ints = npt.NDArray[np.int64]

LATENCY_LIMIT_NS: Final = 10**10
"""From 10 s on a latency takes more than the characters that it has in a message."""

_LATENCY_CHARS: Final = 11
_MAX_INT64: Final = 2**63 - 1
_BLANK: Final = ord(" ")
_ZERO: Final = ord("0")
_PARSED_CHARS: Final = 16
"""Of a number: two words of eight digits. What a stamp has before them is compared (days)."""
_TOP_LIMIT: Final = 922
"""From there on the first four of a stamp's 20 digits might be of no int64."""


def rows_of(messages: Sequence[bytes]) -> Chars | None:
    """The messages as a matrix; None where they are not all of one length."""
    if len(set(map(len, messages))) > 1:
        return None
    return np.frombuffer(b"".join(messages), dtype=np.uint8).reshape(len(messages), -1)


@functools.cache
def _groups() -> npt.NDArray[np.uint32]:
    """Four characters each: 0 to 9999 padded with blanks, then with zeros, then four blanks."""
    texts = [b"%4d" % i for i in range(10_000)] + [b"%04d" % i for i in range(10_000)] + [b"    "]
    return np.frombuffer(b"".join(texts), dtype=np.uint32)


def write_numbers(values: Ints, chars: int) -> Chars:
    """`%{chars}d` of each value from 0 on: n × chars; `chars` is a multiple of four."""
    out = np.empty((len(values), chars // 4), dtype=np.uint32)
    groups = _groups()
    rest = values
    for place in range(chars // 4 - 1, -1, -1):
        higher = rest // 10_000
        index = rest - higher * 10_000
        index += (higher > 0) * 10_000
        if place < chars // 4 - 1:
            index[rest == 0] = 20_000
        out[:, place] = groups.take(index)
        rest = higher
    return out.view(np.uint8)


def _write_latencies(values_ns: Ints) -> Chars:
    """`%4d.%06d` of nanoseconds from 0 to below 10 s, in milliseconds: n × 11."""
    out = np.empty((len(values_ns), _LATENCY_CHARS), dtype=np.uint8)
    groups = _groups()
    whole_ms = values_ns // 1_000_000
    rest_ns = values_ns - whole_ms * 1_000_000
    upper = rest_ns // 10_000
    out[:, :4] = groups.take(whole_ms).view(np.uint8).reshape(-1, 4)
    out[:, 4] = ord(".")
    out[:, 5:7] = groups.take(10_000 + upper).view(np.uint8).reshape(-1, 4)[:, 2:]
    out[:, 7:] = groups.take(10_000 + rest_ns - upper * 10_000).view(np.uint8).reshape(-1, 4)
    return out


def _eight_digits(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The number in each word of eight characters, blanks counting as 0.

    Pairs, fours and eights are joined in place, after D. Lemire, "Quickly parsing eight digits"
    (2018). The first character is the lowest byte (little-endian).
    """
    v = words & np.uint64(0x0F0F0F0F0F0F0F0F)
    v = (v * np.uint64(10) + (v >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    v = (v * np.uint64(100) + (v >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return (v * np.uint64(10_000) + (v >> np.uint64(32))) & np.uint64(0xFFFFFFFF)


def _numbers(text: Chars) -> Ints | None:
    """The number in each row of 16 characters; None if one is no number padded with blanks."""
    digit, blank = text - np.uint8(_ZERO) <= 9, text == _BLANK
    if not (digit | blank).all() or (blank[:, 1:] & digit[:, :-1]).any() or blank[:, -1].any():
        return None
    halves = _eight_digits(text.view("<u8"))
    return (halves[:, 0] * np.uint64(10**8) + halves[:, 1]).astype(np.int64)


class StampReader:
    """Reads the stamps at the end of one run's messages.

    `example` is such an end with all numbers 0 (`sent_end`, `relayed_end`).
    """

    def __init__(self, example: bytes) -> None:
        self.chars = len(example)
        self.slots = {
            found[1].decode(): slice(found.end(1) + 2, found.end())
            for found in re.finditer(rb'"(seq|\w+_ns)": *0', example)
        }
        """Where each number stands, from the end's first character on."""
        fixed = np.ones(self.chars, dtype=bool)
        for found in re.finditer(rb": *0(\.0+)?", example):
            fixed[found.start() + 1 : found.end()] = False
        self._text = np.where(fixed, np.frombuffer(example, dtype=np.uint8), np.uint8(0))
        self._free = ~fixed
        pattern = b"".join(
            re.escape(example[i : i + 1]) if is_fixed else b"." for i, is_fixed in enumerate(fixed)
        )
        self._pattern = re.compile(pattern, re.DOTALL)

    def read(self, rows: Chars) -> Ints | None:
        """Messages × stamps, in order of `slots`; None where a message has to be read by itself."""
        if rows.shape[1] < self.chars:
            return None
        ends = np.ascontiguousarray(rows[:, -self.chars :])
        if not ((ends == self._text) | self._free).all():
            return None
        count = len(self.slots)
        text = np.empty((len(rows), count, _PARSED_CHARS), dtype=np.uint8)
        tops = np.zeros(count, dtype=np.int64)
        for i, slot in enumerate(self.slots.values()):
            begin = slot.stop - _PARSED_CHARS
            text[:, i] = ends[:, begin : slot.stop]
            if begin > slot.start:
                top = ends[0, slot.start : begin].tobytes()
                if not (ends[:, slot.start : begin] == ends[0, slot.start : begin]).all():
                    return None
                if top.strip(b" ") == b"":
                    continue
                if not top.lstrip(b" ").isdigit() or int(top) >= _TOP_LIMIT:
                    return None
                if (text[:, i] == _BLANK).any():
                    return None
                tops[i] = int(top) * 10**_PARSED_CHARS
        numbers = _numbers(text.reshape(-1, _PARSED_CHARS))
        return None if numbers is None else numbers.reshape(-1, count) + tops

    def read_one(self, message: bytes) -> tuple[int, ...] | None:
        """The stamps of one message; None where it does not end in them."""
        end = message[-self.chars :]
        if not self._pattern.fullmatch(end):
            return None
        numbers = []
        for slot in self.slots.values():
            number = end[slot].lstrip(b" ")
            if not number.isdigit() or int(number) > _MAX_INT64:
                return None
            numbers.append(int(number))
        return tuple(numbers)


def sent_end(run_id: str) -> bytes:
    """How a generator's messages end, all numbers 0."""
    return sent_suffix_format(run_id) % (0, 0, 0)


def relayed_end(run_id: str) -> bytes:
    """How a relay's messages end, all numbers 0."""
    return sent_end(run_id)[:-2] + relayed_suffix(0, 0, 0)


_HEAD: Final = re.compile(rb'\{"timestamp":[./0-9]{17},"symbol":"([^"\\\x00-\x1f]+", *)"')
_HEAD_FIXED: Final = (slice(0, 13), slice(30, 41))
_TIMESTAMP: Final = slice(13, 30)
"""Nothing but a number: what opens a string or an object there might hold another `symbol`."""
_TIMESTAMP_CHARS: Final = np.uint8(ord(".")), np.uint8(ord("9") - ord("."))
_SYMBOL: Final = re.compile(rb'([^"\\\x00-\x1f]+)", *')
_SYMBOLS_KEPT: Final = 100_000


class SymbolReader:
    """Reads the symbols at the front of messages as `market` makes them."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}

    def read(self, rows: Chars) -> list[str] | None:
        """Each row's symbol; None where a message has to be read by itself."""
        head = _HEAD.match(rows[0].tobytes())
        if head is None:
            return None
        begin, end = head.span(1)
        for part in (*_HEAD_FIXED, slice(end, end + 1)):
            if not (rows[:, part] == rows[0, part]).all():
                return None
        lowest, others = _TIMESTAMP_CHARS
        if not (rows[:, _TIMESTAMP] - lowest <= others).all():
            return None
        fields = np.ascontiguousarray(rows[:, begin:end]).view(f"V{end - begin}")[:, 0].tolist()
        known = self._known
        try:
            return [known[field] for field in fields]
        except KeyError:
            return [known[field] for field in fields] if self._know(set(fields)) else None

    def _know(self, fields: set[bytes]) -> bool:
        """Keep the symbols of some fields; False if one holds none, which is not kept."""
        if len(self._known) > _SYMBOLS_KEPT:  # somebody sends ever new ones
            self._known.clear()
        for field in fields:
            match = _SYMBOL.fullmatch(field)
            if match is None:
                return False
            try:
                self._known[field] = match[1].decode()
            except UnicodeDecodeError:
                return False
        return True

    @staticmethod
    def read_one(message: bytes) -> str | None:
        """One message's symbol; None where it is elsewhere, if anywhere."""
        head = _HEAD.match(message)
        if head is None:
            return None
        try:
            return head[1][: head[1].index(b'"')].decode()
        except UnicodeDecodeError:
            return None


class SentWriter:
    """Writes the ends of a generator's messages."""

    def __init__(self, run_id: str) -> None:
        end = sent_end(run_id)
        self.chars = len(end)
        self._end = np.frombuffer(end, dtype=np.uint8)
        self._slots = StampReader(end).slots

    def sent_slot(self, document_chars: int) -> slice:
        """Where `sent_ns` stands in a message whose document, brace left out, is so long."""
        slot = self._slots["sent_ns"]
        return slice(document_chars + slot.start, document_chars + slot.stop)

    def write(self, ends: Chars, first_seq: int, due_ns: Ints) -> None:
        """Fill n × `chars` with the ends of as many messages; `sent_ns` stays to be filled in."""
        ends[:] = self._end
        seq = np.arange(first_seq, first_seq + len(due_ns), dtype=np.int64)
        ends[:, self._slots["seq"]] = write_numbers(seq, SEQ_CHARS)
        ends[:, self._slots["due_ns"]] = write_numbers(due_ns, STAMP_CHARS)


def splice(rows: Chars, sent_ns: Ints, relay_in_ns: int, relay_out_ns: int) -> Chars | None:
    """`tick.splice_relayed` of every row of a matrix whose messages end in their stamps.

    None where a latency has no room (from 10 s on) or is below zero.
    """
    low_ns, high_ns = int(sent_ns.min()), int(sent_ns.max())
    if high_ns > relay_in_ns or relay_in_ns - low_ns >= LATENCY_LIMIT_NS:
        return None
    if relay_out_ns - relay_in_ns >= LATENCY_LIMIT_NS:
        return None
    suffix = relayed_suffix(low_ns, relay_in_ns, relay_out_ns)
    kept = rows.shape[1] - 2
    out = np.empty((len(rows), kept + len(suffix)), dtype=np.uint8)
    out[:, :kept] = rows[:, :kept]
    out[:, kept:] = np.frombuffer(suffix, dtype=np.uint8)
    if low_ns != high_ns:  # sent in more than one batch
        place = kept + suffix.index(b'"latency_t1":') + len(b'"latency_t1":')
        out[:, place : place + _LATENCY_CHARS] = _write_latencies(relay_in_ns - sent_ns)
    return out
