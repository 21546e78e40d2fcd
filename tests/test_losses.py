from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latbench.assembly import MISSING, TickTable
from latbench.losses import RANGES_KEPT, LostRanges

Fates = dict[int, bool]
"""Whether a tick was lost, by `seq`."""


def table(fates: Fates) -> TickTable:
    consumed = [MISSING if lost else 7 for lost in fates.values()]
    columns = {"seq": list(fates), "consumed_ns": consumed}
    return TickTable({name: np.array(column, np.int64) for name, column in columns.items()})


def ranges_plainly(fates: Fates) -> list[tuple[int, int]]:
    """The plain twin: tick by tick."""
    ranges: list[tuple[int, int]] = []
    for seq in sorted(seq for seq, lost in fates.items() if lost):
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return ranges


def gathered(fates: Fates, cuts: list[int]) -> LostRanges:
    """Fed in pieces, cut at these places."""
    lost, rows = LostRanges(), sorted(fates.items())
    ends = [0, *sorted(cut % (len(rows) + 1) for cut in cuts), len(rows)]
    for begin, end in itertools.pairwise(ends):
        lost.add(table(dict(rows[begin:end])))
    return lost


seqs = st.integers(0, 80) | st.integers(0, 2**63 - 1)


@given(st.dictionaries(seqs, st.booleans(), max_size=60), st.lists(st.integers(0, 99), max_size=6))
def test_ranges_are_those_of_the_plain_twin_however_the_tables_are_cut(
    fates: Fates, cuts: list[int]
) -> None:
    lost = gathered(fates, cuts)
    assert list(lost.ranges) == ranges_plainly(fates)
    assert lost.count == len(lost.ranges)


@given(
    st.lists(st.booleans(), min_size=150, max_size=600), st.lists(st.integers(0, 599), max_size=9)
)
def test_the_first_ranges_are_kept_and_all_are_counted(lost: list[bool], cuts: list[int]) -> None:
    fates = {2 * seq: gone for seq, gone in enumerate(lost)}  # no two are neighbours
    fates |= {2 * seq + 1: True for seq, gone in enumerate(lost) if gone and seq % 3 == 0}
    found, plain = gathered(fates, cuts), ranges_plainly(fates)
    assert list(found.ranges) == plain[:RANGES_KEPT]
    assert found.count == len(plain)


def test_the_last_range_kept_may_still_grow_and_one_not_kept_may_not() -> None:
    lost = LostRanges()
    lost.add(table({seq: seq % 2 == 0 for seq in range(2 * RANGES_KEPT - 1)}))
    lost.add(table({2 * RANGES_KEPT - 1: True}))
    assert lost.ranges[-1] == (2 * RANGES_KEPT - 2, 2 * RANGES_KEPT - 1)
    lost.add(table({2 * RANGES_KEPT + 1: True}))
    lost.add(table({2 * RANGES_KEPT + 2: True}))
    assert lost.ranges[-1] == (2 * RANGES_KEPT - 2, 2 * RANGES_KEPT - 1)
    assert (len(lost.ranges), lost.count) == (RANGES_KEPT, RANGES_KEPT + 1)
    assert type(lost.ranges[0][0]) is int  # not numpy's: it goes into JSON


def test_nothing_lost_gives_no_ranges() -> None:
    lost = LostRanges()
    lost.add(table({0: False, 1: False}))
    assert (lost.ranges, lost.count) == ((), 0)
