"""The verdict on a page: its words, its table, and where a strip's marks lie."""

from __future__ import annotations

import itertools
import math
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.comparing import compare
from latbench.gates import DEFAULT_GATES
from latbench.render.comparison_words import Labels, Told
from latbench.render.html.verdict import draw_verdict, rows_of, scale_of
from latbench.result import RunStatus
from tests.comparisons import make_side, sides
from tests.html_pages import parsed, texts

EVIL = "</section><script>alert(1)</script>"
LOGS = st.floats(-5, 5)


def told(new: float = 1.3, **changes: object) -> Told:
    comparison = compare(*sides(new), DEFAULT_GATES).comparison
    return Told(
        msgspec.structs.replace(comparison, **changes),
        ("latbench compare",),
        Labels("base", "new"),
        notes=("a note",),
        open_ends=("an open end",),
    )


def drawn(words: Told, ratios: list[list[float]] | None = None) -> str:
    page = f"<!DOCTYPE html><title>x</title><section>{draw_verdict(words, ratios or [])}</section>"
    parsed(page)
    return page


@given(st.lists(LOGS, max_size=20), st.floats(0.001, 3))
def test_a_scale_holds_all_and_has_room_for_the_words(logs: list[float], bound: float) -> None:
    scale = scale_of(logs, bound)
    places = [100 * (each - scale.low) / (scale.high - scale.low) for each in (*logs, 0.0, bound)]
    assert all(0 < place < 100 for place in places)
    *_, none, allowed = places
    assert none >= 24
    assert none < allowed <= 62.0001 + 3


@given(st.lists(st.floats(0, 100), max_size=40))
def test_no_two_dots_of_a_row_touch(places: list[float]) -> None:
    rows = rows_of(places)
    assert len(rows) == len(places)
    for row in set(rows):
        own = sorted(place for place, where in zip(places, rows, strict=True) if where == row)
        assert all(b - a >= 3.2 - 1e-9 for a, b in itertools.pairwise(own))


def test_a_dot_lies_where_its_pair_does() -> None:
    words = told()
    ratios = [[1.0, 1.3, 1.31, 1.02, 0.98], [1.0, 1.3, 1.4, 1.02, 0.98]]
    page = drawn(words, ratios)
    gate = words.comparison.gates[0]
    change = gate.change
    known = [each for each in (change.ratio, change.ratio_low, change.ratio_high) if each]
    scale = scale_of([math.log(each) for each in (*ratios[0], *known)], math.log1p(gate.allowed))
    found = [
        (each.get("class"), float((each.get("style") or "")[5:].partition("%")[0]))
        for each in parsed(page).iter("i")
        if (each.get("class") or "").startswith("dot")
    ][:5]
    for (kind, place), ratio in zip(found, ratios[0], strict=True):
        assert place == pytest.approx(scale.place(math.log(ratio)), abs=0.01)
        assert kind == ("dot beyond" if ratio - 1 > gate.allowed else "dot")


def test_without_pairs_there_is_the_interval_alone() -> None:
    page = drawn(told())
    kinds = [each.get("class") for each in parsed(page).iter("i")]
    assert "dot" not in kinds
    assert kinds.count("bar") == kinds.count("estimate") == 2
    assert "Each dot is a pair" not in page


def test_a_strip_is_told_to_who_cannot_see_it() -> None:
    page = drawn(told(), [[1.3, 1.2, 0.99]] * 2)
    labels = [
        each.get("aria-label") for each in parsed(page).iter("div") if each.get("role") == "img"
    ]
    assert len(labels) == 2
    assert re.match(
        r"end_to_end\.p50: 2 of 3 pairs slower; change \+\d.* to \+.* allowed", labels[0] or ""
    )


def test_all_words_of_the_terminal_are_there() -> None:
    words = told()
    text = " ".join(texts(parsed(drawn(words))).split())
    first, *more = words.answer
    for sentence in (first.partition(": ")[2], *more, *words.all_notes, *words.limits):
        assert sentence in text


def test_what_was_left_out_and_is_not_the_same_is_told() -> None:
    base, new = sides()
    bad = make_side("c", 1, status=RunStatus.FAILED, failure=EVIL)
    comparison = compare((*base, *bad), new, DEFAULT_GATES).comparison
    page = drawn(Told(comparison, (EVIL,), Labels(EVIL, EVIL), notes=(EVIL,), open_ends=(EVIL,)))
    assert "<script" not in page
    text = texts(parsed(page))
    assert "Left out" in text
    assert EVIL in text


@pytest.mark.parametrize(("new", "kind"), [(1.3, "regression"), (1.0, "pass")])
def test_the_badge_is_the_verdict(new: float, kind: str) -> None:
    (badge,) = [
        each
        for each in parsed(drawn(told(new))).iter("span")
        if (each.get("class") or "").startswith("badge")
    ]
    assert badge.get("class") == f"badge {kind}"
    assert texts(badge).lower() == kind
