"""Whether a run's accounts add up: its counts, its rows, and what another consumer finds."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cli import Finished, report
from tests.runs import PARTS, Record, Row, read_rows

RANGES_KEPT = 100


@dataclasses.dataclass(frozen=True)
class Accounts:
    """A run whose accounts have been checked."""

    result: Mapping[str, Any]
    rows: list[Row]
    on_topic: list[int]
    """The run's ticks on the topic by `seq`, as often as they are there."""

    @property
    def counts(self) -> Mapping[str, int]:
        counts: Mapping[str, int] = self.result["counts"]
        return counts

    @property
    def lost(self) -> list[int]:
        """By `seq`, told from the rows."""
        return [row["seq"] for row in self.rows if row["consumed_ns"] is None]

    @property
    def acked(self) -> set[int]:
        """By `seq`, told from the rows."""
        return {row["seq"] for row in self.rows if row["acked_ns"] is not None}

    @property
    def slowest_ns(self) -> int:
        """The greatest latency from due to consumed."""
        return max(row["consumed_ns"] - row["due_ns"] for row in self.rows if row["consumed_ns"])


def check_verdict(run: Finished, path: Path, code: int, status: str) -> dict[str, Any]:
    """The run ended as said, in words where it failed, and left its result and nothing else."""
    assert run.code == code, run.talk
    assert "Traceback" not in run.stderr
    for word in ("error: ", "hint: "):
        told = sum(line.startswith(word) for line in run.stderr.splitlines())
        assert told == (1 if code == 1 else 0), run.talk
    assert [left.name for left in path.parent.iterdir()] == [path.name]
    result = run.result
    assert isinstance(result, dict)
    assert result["status"] == status, run.talk
    assert report(path, "--json", cwd=path.parent).result == result
    return result


def check_accounts(
    result: Mapping[str, Any], path: Path, records: Sequence[Record] | None = None
) -> Accounts:
    """Every tick is accounted for once; `records`: all that is on the topic, if it still is."""
    rows = read_rows(path)
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    consumed = [row for row in rows if row["consumed_ns"] is not None]
    acked = [row for row in rows if row["acked_ns"] is not None]
    counts = result["counts"]
    assert counts["sent"] == len(rows)
    assert counts["consumed"] == len(consumed)
    assert counts["lost"] == len(rows) - len(consumed)
    assert counts["acked"] == len(acked)
    assert counts["relayed"] == sum(row["relay_in_ns"] is not None for row in rows)
    assert counts["warmup"] == sum(row["warmup"] for row in rows)
    assert counts["measured"] == len(rows) - counts["warmup"]
    check_lost_ranges(result, rows)
    for row in consumed:
        parts = [row[end] - row[start] for start, end in PARTS]
        assert min(parts) >= 0, row
        assert sum(parts) == row["consumed_ns"] - row["due_ns"]
    # a relay lets only ticks through, be it those of another run
    ours = [record for record in records or () if record.stamps["run"] == result["run_id"]]
    if records is not None:
        seq_at = {(record.partition, record.offset): record.stamps["seq"] for record in ours}
        for row in (*consumed, *acked):
            assert seq_at[row["partition"], row["offset"]] == row["seq"]
    return Accounts(result, rows, [record.stamps["seq"] for record in ours])


def ranges(seqs: Iterable[int]) -> list[list[int]]:
    """Ascending numbers as first and last of each row of neighbours."""
    by_row = itertools.groupby(enumerate(seqs), lambda pair: pair[1] - pair[0])
    rows = [[seq for _, seq in row] for _, row in by_row]
    return [[row[0], row[-1]] for row in rows]


def check_lost_ranges(result: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """The ticks that were lost are named, and are those whose rows say so."""
    told = ranges(row["seq"] for row in rows if row["consumed_ns"] is None)
    assert result["lost_ranges"] == told[:RANGES_KEPT]
    assert result["lost_range_count"] == len(told)
