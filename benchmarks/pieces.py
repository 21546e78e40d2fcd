"""What each piece of work on a tick takes: encode, splice, read, ring, drain, histogram, clients.

    python benchmarks/pieces.py --json new.json
    python benchmarks/pieces.py --json new.json --against old.json

Each line is one piece, for one tick at a time or for 250 at once, in nanoseconds a tick: the median
of 15 rounds, the least and the greatest. The last line is a loop of pure Python that never changes:
where it differs between two files, so did the machine. `--against` divides by an earlier file's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import msgspec
import numpy as np

from latbench.batch.ticks import ConsumerBatch, RelayBatch, SentBatch
from latbench.clock import monotonic_ns
from latbench.histogram import Histogram
from latbench.market import Market
from latbench.recording import COLUMNS, CONSUMER
from latbench.ring import RingReader, RingWriter, create_memory
from latbench.source import TickBlock
from latbench.stages.framing import framed, header_of
from latbench.tick import decode_relayed, decode_sent, sent_suffix_format, splice_relayed

RUN = "5f1c09ab"
MANY = 250
BLOCK = 8192
ROUNDS = 15
ROUND_NS = 20_000_000
NOW_NS = 12_345_678_901_234

Piece = tuple[str, int, Callable[[], object]]
"""Name, ticks a call, the call."""


def block_of(count: int) -> TickBlock:
    market = Market(("NIFTY", "BANKNIFTY", "RELIANCE", "TCS"), 1000, 1)
    blob, width, symbol_ids = market.documents(np.arange(count) * 1000 + 1_795_545_115_704_270_000)
    return TickBlock(
        [NOW_NS] * count, symbol_ids.tolist(), blob, list(range(0, len(blob) + 1, width))
    )


def blocks(block: TickBlock) -> Generator[TickBlock]:
    yield block


def pieces() -> Iterator[Piece]:
    block = block_of(BLOCK)
    width = block.bounds[1]
    suffix = sent_suffix_format(RUN)
    sent = [
        block.blob[i * width : (i + 1) * width] + suffix % (i, NOW_NS, NOW_NS) for i in range(MANY)
    ]
    relayed = [
        splice_relayed(message, NOW_NS, NOW_NS + 50_000, NOW_NS + 60_000) for message in sent
    ]
    yield "encode a message", 1, lambda: block.blob[:width] + suffix % (7, NOW_NS, NOW_NS)
    yield "make documents", BLOCK, lambda: block_of(BLOCK)
    batch = SentBatch(RUN)
    yield "make frames, compiled", BLOCK, lambda: next(framed(blocks(block), RUN, batch))
    yield "make frames, NumPy", BLOCK, lambda: next(framed(blocks(block), RUN))
    yield "read a sent message", 1, lambda: decode_sent(sent[0])
    yield "splice a message", 1, lambda: splice_relayed(sent[0], NOW_NS, NOW_NS, NOW_NS)
    yield from relay_pieces(sent)
    yield "read a relayed message", 1, lambda: decode_relayed(relayed[0])
    yield from consumer_pieces(relayed)
    yield from ring_pieces()
    latencies = np.random.default_rng(1).integers(100_000, 3_000_000, 10_000)
    histogram = Histogram()
    yield "count in a histogram", len(latencies), lambda: histogram.record(latencies)
    yield "read the clock", 1, monotonic_ns
    yield "a loop that never changes", 1000, lambda: sum(itertools.repeat(1, 1000))


def relay_pieces(sent: list[bytes]) -> Iterator[Piece]:
    batch = RelayBatch(RUN, 1)
    header = header_of(len(sent[0]))
    data = b"".join(header + os.urandom(4) + message for message in sent)  # any mask will do
    batch.frames[: len(data)] = data
    yield "take frames, compiled", MANY, lambda: batch.take_frames(0, len(data), MANY)
    plain = b"".join(header + bytes(4) + message for message in sent)
    batch.frames[: len(plain)] = plain
    assert batch.take_frames(0, len(plain), MANY) == MANY
    assert batch.relay(0, MANY, NOW_NS, NOW_NS) == MANY
    yield "stamp messages, compiled", MANY, lambda: batch.relay(0, MANY, NOW_NS, NOW_NS)
    yield "record answers, compiled", MANY, lambda: batch.answer(MANY, NOW_NS)


def consumer_pieces(relayed: list[bytes]) -> Iterator[Piece]:
    batch = ConsumerBatch(RUN)
    data = b"".join(message[-batch.end_chars :] for message in relayed)
    batch.ends[: len(data)] = data

    def record() -> None:
        batch.seen[:MANY] = bytes(MANY)  # else all but the first are duplicates
        assert batch.record(0, MANY, NOW_NS) == MANY

    yield "record messages, compiled", MANY, record


def ring_pieces() -> Iterator[Piece]:
    columns = len(COLUMNS[CONSUMER])
    descriptor = create_memory(columns, 1 << 16)
    writer, reader = RingWriter(descriptor, columns), RingReader(descriptor, columns)
    os.close(descriptor)
    row, rows = tuple(range(columns)), np.zeros((MANY, columns), dtype=np.int64)

    def push() -> None:
        writer.push(*row)

    def push_and_drain() -> None:
        writer.push_rows(rows)
        reader.drain(last=True)

    yield "write a row", 1, push
    yield "write rows and drain them", MANY, push_and_drain


def time_piece(ticks: int, call: Callable[[], object]) -> list[float]:
    """Nanoseconds a tick, of each round."""
    begun_ns, calls = time.perf_counter_ns(), 0
    while time.perf_counter_ns() - begun_ns < ROUND_NS:
        call()
        calls += 1
    rounds = []
    for _ in range(ROUNDS):
        begun_ns = time.perf_counter_ns()
        for _ in range(calls):
            call()
        rounds.append((time.perf_counter_ns() - begun_ns) / calls / ticks)
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--against", type=Path, help="an earlier file: show what changed")
    arguments = parser.parse_args()
    before = json.loads(arguments.against.read_text()) if arguments.against else {}
    figures = {}
    print(f"{'ns a tick':32} {'ticks':>6} {'median':>9} {'least':>9} {'greatest':>9}")
    for name, ticks, call in pieces():
        rounds = time_piece(ticks, call)
        median = statistics.median(rounds)
        figures[name] = {"median": median, "least": min(rounds), "greatest": max(rounds)}
        change = f"  ×{median / before[name]['median']:.2f}" if name in before else ""
        print(f"{name:32} {ticks:6} {median:9.1f} {min(rounds):9.1f} {max(rounds):9.1f}{change}")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))


if __name__ == "__main__":
    main()
