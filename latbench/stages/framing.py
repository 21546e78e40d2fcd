"""Ticks made into WebSocket frames ahead of time, a block at once.

A frame of a client is masked (RFC 6455, 5.3): its text is XORed with four random bytes. All but the
moment of sending is written and masked when the block is made, by the thread that makes blocks; in
that one place the mask alone stands, and XORing the characters in finishes the frame. So sending is
a copy of 20 characters a tick and one write for all that are due: 0.1 µs a tick where making,
masking and writing each by itself takes 8.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Generator
from typing import Final

import numpy as np

from latbench.batch.ticks import SentBatch
from latbench.source import FramedTicks, TickBlock
from latbench.tickmatrix import Chars, Ints, SentWriter

_TEXT_FINAL: Final = 0x81
"""FIN and opcode 1: a whole message of text."""
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
_ROWS_AT_ONCE: Final = 512
"""140 KB: they stay in a CPU's cache from the first pass over them to the last."""
_SHORT: Final = 125
_MEDIUM: Final = 0xFFFF


def framed(
    blocks: Generator[TickBlock], run_id: str, batch: SentBatch | None = None
) -> Generator[TickBlock]:
    """The same blocks with their frames, where the documents of a block are of one length.

    `batch`: makes them (0.1 µs a tick, NumPy 0.6).
    """
    layout = SentWriter(run_id)
    seq = 0
    with contextlib.closing(blocks):
        for block in blocks:
            yield _with_frames(block, layout, seq, batch)
            seq += len(block.due_ns)


def _with_frames(
    block: TickBlock, layout: SentWriter, first_seq: int, batch: SentBatch | None
) -> TickBlock:
    count, width = len(block.due_ns), block.bounds[1]
    if width * count != block.bounds[-1] or width + layout.chars > _MEDIUM:
        return block
    if block.bounds != list(range(0, width * count + 1, width)):
        return block
    due_ns = np.array(block.due_ns, dtype=np.int64)
    documents = np.frombuffer(block.blob, dtype=np.uint8).reshape(count, width)
    chars = width + layout.chars
    header = header_of(chars)
    begin = len(header) + _MASK_BYTES
    frames = np.empty((count, begin + chars), dtype=np.uint8)
    slot = layout.sent_slot(width)
    if batch is None:
        _make_frames(frames, documents, due_ns, first_seq, layout)
    else:
        _make_frames_compiled(frames, documents, due_ns, first_seq, batch)
    rows = np.empty((count, 4), dtype=np.int64)
    rows[:, 0] = np.arange(first_seq, first_seq + count)
    rows[:, 1] = block.symbol_ids
    rows[:, 2] = due_ns
    sent_slot = slice(begin + slot.start, begin + slot.stop)
    return dataclasses.replace(block, framed=FramedTicks(frames, sent_slot, rows))


def _make_frames(
    frames: Chars, documents: Chars, due_ns: Ints, first_seq: int, layout: SentWriter
) -> None:
    """Fill n × frame from n × width."""
    count, width = documents.shape
    slot = layout.sent_slot(width)
    header = header_of(width + layout.chars)
    for first in range(0, count, _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        some = frames[part]
        some[:, : len(header)] = np.frombuffer(header, dtype=np.uint8)
        text = some[:, len(header) + _MASK_BYTES :]
        text[:, :width] = documents[part]
        layout.write(text[:, width:], first_seq + first, due_ns[part])
        text[:, slot] = 0
        _mask(some, len(header))


def _make_frames_compiled(
    frames: Chars, documents: Chars, due_ns: Ints, first_seq: int, batch: SentBatch
) -> None:
    """`_make_frames` by compiled code."""
    (count, width), frame_bytes = documents.shape, frames.shape[1]
    at_once = batch.most(width)
    for first in range(0, count, at_once):
        part = slice(first, min(first + at_once, count))
        rows = part.stop - first
        batch.documents[: rows * width] = documents[part].data.cast("B")
        batch.due_ns[: rows * 8] = due_ns[part].data.cast("B")
        batch.masks[: rows * _MASK_BYTES] = os.urandom(rows * _MASK_BYTES)
        made = batch.make_frames(rows, width, first_seq + first)
        assert made == rows
        frames[part].data.cast("B")[:] = batch.frames[: rows * frame_bytes]


def header_of(chars: int) -> bytes:
    """The header of a masked text frame of so many bytes, up to where the mask stands."""
    if chars <= _SHORT:
        return bytes((_TEXT_FINAL, _MASKED | chars))
    return bytes((_TEXT_FINAL, _MASKED | 126)) + chars.to_bytes(2, "big")


def _mask(frames: Chars, mask_place: int) -> None:
    """Put a random mask into each frame and apply it to what stands behind."""
    count, width = frames.shape
    text = frames[:, mask_place + _MASK_BYTES :]
    masks = np.frombuffer(os.urandom(_MASK_BYTES * count), dtype=np.uint32)
    frames[:, mask_place : mask_place + _MASK_BYTES] = masks.view(np.uint8).reshape(count, -1)
    repeated = np.empty((count, -(-width // _MASK_BYTES)), dtype=np.uint32)
    repeated[:] = masks[:, np.newaxis]
    text ^= repeated.view(np.uint8)[:, : text.shape[1]]
