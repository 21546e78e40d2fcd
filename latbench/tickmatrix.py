"""Where a run's messages have their symbol and stamps, and NumPy's way of writing many of them.

Messages are known by their end, where generator and relay put their stamps at fixed places; what
stands before is the source's and isn't looked at, but for the symbol. So a message with this run's
name and stamps at its end is a tick of this run, whatever its document is.
"""

from __future__ import annotations

import functools
import re
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

_MAX_INT64: Final = 2**63 - 1


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
        text = np.where(fixed, np.frombuffer(example, dtype=np.uint8), np.uint8(0))
        self.fixed_text = text.tobytes()
        """The end with zero bytes where the numbers stand."""
        self.fixed_mask = np.where(fixed, np.uint8(0xFF), np.uint8(0)).tobytes()
        pattern = b"".join(
            re.escape(example[i : i + 1]) if is_fixed else b"." for i, is_fixed in enumerate(fixed)
        )
        self._pattern = re.compile(pattern, re.DOTALL)

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


def read_symbol_at_front(message: bytes) -> str | None:
    """The symbol of a message as `market` makes them; None where it is elsewhere, if anywhere."""
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
