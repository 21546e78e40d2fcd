"""`latbench compare`: which file is on which side, what is refused, exit codes, JSON."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import msgspec
import pytest

from latbench import stored_sides
from latbench.cli import comparison_html
from latbench.comparison import Comparison
from latbench.errors import UsageError
from latbench.result import RunStatus
from latbench.stored_sides import label, split
from latbench.sweep_file import write_sweep
from tests.cli import Caller, Finished
from tests.comparisons import make_run, sides, write, write_side
from tests.html_pages import PLOTLY, figures, parsed, texts
from tests.html_pages import write_run as write_rows
from tests.results import make_config
from tests.sweeps import make_sweep


def put(
    folder: Path, new: float = 1.0, counts: tuple[int, int] = (10, 10), **changes: object
) -> None:
    """Ten files of A in `base/`, of B in `new/`."""
    base_side, new_side = sides(new, counts=counts, **changes)
    write_side(folder / "base", base_side)
    write_side(folder / "new", new_side)


def named(folder: Path, name: str) -> list[str]:
    return [f"{name}/{path.name}" for path in sorted((folder / name).iterdir())]


def answer(run: Finished) -> str:
    return " ".join(run.stdout.split())


# --- which is which -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "base", "new"),
    [
        ("a b", ["a"], ["b"]),
        ("a/1 a/2", ["a/1"], ["a/2"]),
        ("a/1 a/2 vs a/3", ["a/1", "a/2"], ["a/3"]),
        ("a vs b c/1", ["a"], ["b", "c/1"]),
        ("a/1 a/2 b/1", ["a/1", "a/2"], ["b/1"]),
        ("b/1 a/1 b/2", ["b/1", "b/2"], ["a/1"]),
    ],
)
def test_sides_are_told_apart(arguments: str, base: list[str], new: list[str]) -> None:
    found = split(arguments.split())
    assert [[str(path) for path in side] for side in found] == [base, new]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("", "no files to compare"),
        ("a", "a has nothing to be compared with"),
        ("vs a", "there is no base beside the word vs"),
        ("a vs", "there is no new beside the word vs"),
        ("a vs b vs c", "the word vs stands 2 times"),
        ("a/1 a/2 a/3", "3 files of one directory don't tell which are the base"),
        ("a/1 b/2 c/3", "3 files of 3 directories don't tell which are the base"),
    ],
)
def test_what_does_not_tell_the_sides_is_refused(arguments: str, complaint: str) -> None:
    with pytest.raises(UsageError) as told:
        split(arguments.split())
    assert told.value.message == complaint
    assert told.value.hint


def test_a_directory_among_more_than_two_paths_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory among 3 paths"):
        split([str(tmp_path), "a", "b"])


def test_a_side_is_called_by_its_directory_or_its_file(tmp_path: Path) -> None:
    assert label([tmp_path]) == f"{tmp_path}/"
    assert label([Path("a/1.parquet")]) == "a/1.parquet"
    assert label([Path("a/1"), Path("a/2")]) == "a/"
    assert label([Path("a/1"), Path("b/2"), Path("c/3")]) == "3 paths"


def test_all_ways_to_name_the_sides_compare_the_same(call_latbench: Caller, tmp_path: Path) -> None:
    put(tmp_path)
    base, new = named(tmp_path, "base"), named(tmp_path, "new")
    told = [
        call_latbench("compare", *arguments, cwd=tmp_path).stdout
        for arguments in (("base", "new"), (*base, "vs", *new), (*base, *new), ("base", "vs", *new))
    ]
    assert len(set(told)) == 1
    assert "A base/ · 10 runs B new/ · 10 runs Pass: " in " ".join(told[0].split())


# --- what is in the way -------------------------------------------------------------------------


def test_a_directorys_other_files_are_skipped_and_told(
    call_latbench: Caller, tmp_path: Path
) -> None:
    put(tmp_path)
    write_sweep(tmp_path / "base" / "sweep.parquet", make_sweep())
    (tmp_path / "base" / "sweep.svg").write_text("<svg/>")
    (tmp_path / "base" / "x.parquet").write_text("no Parquet")
    cut = (tmp_path / "base" / "01.parquet").read_bytes()[:2000]
    (tmp_path / "base" / "y.parquet").write_bytes(cut)
    (tmp_path / "base" / "z.parquet.partial").mkdir()
    run = call_latbench("compare", "base", "new", cwd=tmp_path)
    assert run.code == 0, run.talk
    assert "base/ · 10 runs" in run.stdout
    assert run.stderr.splitlines() == [
        "skipped base/sweep.parquet: it is of a sweep",
        "skipped base/x.parquet: is not a Parquet file",
        "skipped base/y.parquet: is cut off: a Parquet file without its end",
    ]


def test_bad_runs_of_a_directory_are_left_out_and_told(
    call_latbench: Caller, tmp_path: Path
) -> None:
    put(tmp_path)
    bad = make_run(99, "a", status=RunStatus.FAILED, failure="the relay died")
    write(tmp_path / "base" / "bad.parquet", bad)
    run = call_latbench("compare", "base", "new", cwd=tmp_path)
    assert run.code == 0
    assert "Left out A base/bad.parquet: it is failed: the relay died" in answer(run)


@pytest.mark.parametrize(
    ("arguments", "complaint", "code"),
    [
        ("base base", "base/01.parquet is on both sides", 2),
        ("base vs base/03.parquet", "base/03.parquet is on both sides", 2),
        ("base base/01.parquet vs new", "base/01.parquet is twice in the base", 2),
        ("base copy.parquet", "base/01.parquet and copy.parquet hold the same run, which is on", 2),
        ("base empty", "empty holds no results of runs", 2),
        ("base sweep.parquet", "sweep.parquet is of a sweep: its points are no runs", 2),
        ("base none.parquet", "none.parquet does not exist", 1),
        ("base text", "text is not a Parquet file", 1),
        ("base new --gate p99=x", "--gate 'p99=x' ends in no share", 2),
        ("base new --gate p99=5% --gate end_to_end.p99=6%", "--gate names end_to_end.p99 twice", 2),
        ("base new --gate kafak.p99=5%", "--gate names the hop 'kafak', which is not there", 2),
    ],
)
def test_what_can_not_be_compared_is_one_clear_line(
    arguments: str, complaint: str, code: int, call_latbench: Caller, tmp_path: Path
) -> None:
    put(tmp_path)
    shutil.copy(tmp_path / "base" / "01.parquet", tmp_path / "copy.parquet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no Parquet")
    write_sweep(tmp_path / "sweep.parquet", make_sweep())
    run = call_latbench("compare", *arguments.split(), cwd=tmp_path)
    assert run.code == code, run.talk
    assert run.stdout == ""
    first, second = run.stderr.splitlines()
    assert first.startswith(f"error: {complaint}")
    assert second.startswith("hint: ")


def test_more_results_than_memory_is_meant_for_are_refused(
    call_latbench: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path)
    monkeypatch.setattr(stored_sides, "MAX_VALUES", 9)
    run = call_latbench("compare", "base", "new", cwd=tmp_path)
    assert (run.code, run.stderr.splitlines()[0]) == (2, "error: base/ has 10 results, more than 9")


def test_a_directory_that_can_not_be_looked_into_is_told(
    call_latbench: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path)

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    run = call_latbench("compare", "base", "new", cwd=tmp_path)
    assert run.code == 1
    assert run.stderr.splitlines()[0] == "error: base can't be read: permission denied"


# --- verdicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "counts", "strict", "code", "word"),
    [
        (1.0, (10, 10), True, 0, "Pass"),
        (1.3, (10, 10), False, 3, "Regression"),
        (1.3, (10, 10), True, 3, "Regression"),
        (1.09, (10, 10), False, 0, "Inconclusive"),
        (1.09, (10, 10), True, 4, "Inconclusive"),
        (1.3, (2, 2), False, 0, "Inconclusive"),
        (1.3, (2, 2), True, 4, "Inconclusive"),
    ],
)
def test_exit_codes(
    new: float,
    counts: tuple[int, int],
    strict: bool,
    code: int,
    word: str,
    call_latbench: Caller,
    tmp_path: Path,
) -> None:
    put(tmp_path, new, counts)
    run = call_latbench("compare", "base", "new", *(["--strict"] if strict else []), cwd=tmp_path)
    assert run.code == code, run.talk
    assert f"{word}: " in run.stdout
    lines = run.stderr.splitlines()
    if word != "Inconclusive":
        assert lines == []
    elif strict:
        assert lines == ["error: inconclusive: nothing is decided (--strict)"]
    else:
        assert lines == ["warning: inconclusive: nothing is decided; --strict makes it exit 4"]


def test_incomparable_sides_are_compared_only_when_forced(
    call_latbench: Caller, tmp_path: Path
) -> None:
    put(tmp_path, 1.3, config=make_config(tick_rate_hz=4000))
    run = call_latbench("compare", "base", "new", cwd=tmp_path)
    assert run.code == 0
    assert "Incomparable: the sides did not measure the same thing" in answer(run)
    assert run.stderr.splitlines() == [
        "warning: incomparable: nothing was compared; --strict makes it exit 4",
        "hint: --force compares all the same",
    ]
    assert call_latbench("compare", "base", "new", "--strict", cwd=tmp_path).code == 4
    forced = call_latbench("compare", "base", "new", "--force", cwd=tmp_path)
    assert forced.code == 3
    assert "did not measure the same thing, and were compared all the same." in answer(forced)
    assert "tick-rate 5,000/s → 4,000/s" in answer(forced)


def test_gates_are_those_given(call_latbench: Caller, tmp_path: Path) -> None:
    put(tmp_path, 1.3)
    options_ = ("--gate", "p50=50%", "--gate", "kafka.p90=60%")
    run = call_latbench("compare", "base", "new", *options_, "--json", cwd=tmp_path)
    assert run.code == 0, run.talk
    assert [each["gate"]["margin"] for each in run.result["gates"]] == [0.5, 0.6]
    assert run.result["verdict"] == "pass"


def test_json_is_the_whole_comparison_and_all_there_is(
    call_latbench: Caller, tmp_path: Path
) -> None:
    put(tmp_path, 1.3, (10, 11))
    told = call_latbench("compare", "base", "new", "--json", cwd=tmp_path).result
    comparison = msgspec.convert(told, Comparison)
    assert (comparison.base_runs, comparison.new_runs) == (10, 11)
    assert told["labels"] == {"base": "base/", "new": "new/"}
    assert told["files"]["new"][10] == "new/11.parquet"
    assert told["answer"][0].startswith("Regression: end_to_end.p50 is slower by ")
    assert told["dominances"][0]["superiority"] == 1.0
    assert told["within_runs"] is False
    assert isinstance(told["notes"], list)
    assert isinstance(told["limits"], list)


# --- on GitHub, and drawn -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "counts", "line"),
    [
        (1.3, (10, 10), "::error title=latbench compare::Regression: end_to_end.p50 is slower by "),
        (1.0, (10, 10), "::notice title=latbench compare::Pass: end_to_end.p50 "),
        (1.3, (2, 2), "::warning title=latbench compare::Inconclusive: a verdict takes 10 runs"),
    ],
)
def test_the_verdict_is_an_annotation_on_github(
    new: float,
    counts: tuple[int, int],
    line: str,
    call_latbench: Caller,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    put(tmp_path, new, counts)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    plain = call_latbench("compare", "base", "new", cwd=tmp_path)
    assert "::" not in plain.stdout
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    told = call_latbench("compare", "base", "new", cwd=tmp_path)
    assert told.stdout.startswith(plain.stdout)
    (last,) = told.stdout.removeprefix(plain.stdout).splitlines()
    assert last.startswith(line)
    assert "::" not in call_latbench("compare", "base", "new", "--json", cwd=tmp_path).stdout


def drawn(folder: Path) -> None:
    """One file of each side, with rows."""
    shutil.move(write_rows(folder, seed=1, lost=set()), folder / "base.parquet")
    shutil.move(write_rows(folder, seed=2, lost=set()), folder / "new.parquet")


def test_both_sides_are_drawn_below_the_verdict(
    call_latbench: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(comparison_html, "plotly_bundle", lambda: PLOTLY)
    drawn(tmp_path)
    files = ("base.parquet", "new.parquet", "--force")
    plain = call_latbench("compare", *files, cwd=tmp_path)
    run = call_latbench("compare", *files, "--html", "c.html", cwd=tmp_path)
    assert (run.code, run.stdout) == (plain.code, plain.stdout)
    page = (tmp_path / "c.html").read_text()
    told = texts(parsed(page))
    assert "A · base.parquet" in told
    assert "B · new.parquet" in told
    (header,) = parsed(page).iter("header")
    assert any(each.get("class") == "verdict" for each in header)
    assert "latency" in figures(page)
    again = call_latbench("compare", *files, "--html", "c.html", cwd=tmp_path)
    assert (again.code, again.stdout) == (2, "")
    assert again.stderr.splitlines() == [
        "error: c.html is there already",
        "hint: add --overwrite, or another --html",
    ]
    again = call_latbench("compare", *files, "--html", "c.html", "--overwrite", cwd=tmp_path)
    assert again.code == plain.code


def test_a_run_that_does_not_count_is_not_drawn(
    call_latbench: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(comparison_html, "plotly_bundle", lambda: PLOTLY)
    for side, seeds in (("base", (1, 2)), ("new", (3, 4))):
        for seed in seeds:  # those with lost ticks don't count
            write_rows(tmp_path / side, seed=seed, lost=set() if seed % 2 else {4000})
    call_latbench("compare", "base", "new", "--force", "--html", "c.html", cwd=tmp_path)
    told = texts(parsed((tmp_path / "c.html").read_text()))
    assert "base/run-1.parquet" in told
    assert "A: base/run-2.parquet: " in told  # left out, which is told
    assert "never reached the consumer" in told
    assert "2 runs, the first of" not in told


def test_overwrite_is_for_the_page(call_latbench: Caller, tmp_path: Path) -> None:
    put(tmp_path)
    run = call_latbench("compare", "base", "new", "--overwrite", cwd=tmp_path)
    assert (run.code, run.stdout) == (2, "")
    assert "--overwrite has no meaning without --html" in run.stderr


def test_a_result_is_not_replaced_by_its_page(call_latbench: Caller, tmp_path: Path) -> None:
    put(tmp_path)
    target = "base/01.parquet"
    run = call_latbench("compare", "base", "new", "--html", target, "--overwrite", cwd=tmp_path)
    assert run.code == 2
    assert f"{target} is a result that is read" in run.stderr
