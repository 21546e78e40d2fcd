"""`latbench ab` without a run: its options, what it writes and prints, its exit codes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from latbench import ab as sessions
from latbench.ab import AbOutcome
from latbench.ab_file import read_ab
from latbench.ab_result import AbPlan, AbResult, AbStatus, Variant
from latbench.cli.asked import read_run_options
from latbench.comparison import Unfit, Verdict
from latbench.errors import LatbenchError, UsageError
from latbench.signals import Interrupted
from tests.ab import make_plan, make_session
from tests.cli import Caller, Finished

B = ("--b", "--linger 5")
DEFAULTS = ("--warmup", "1s", "--duration", "3s", "--tick-rate", "4000")


class Sessions:
    """Stands for the measuring: gives an outcome, and keeps what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outcome = AbOutcome(result=make_session())
        self.raises: Exception | None = None
        self.plans: list[AbPlan] = []
        self.directory = Path()
        self.embedded: bool | None = None
        self.keep = False
        monkeypatch.setattr(sessions, "session", self)

    def __call__(
        self, plan: AbPlan, directory: Path, watcher: Any, *, embedded: bool, keep: bool
    ) -> AbOutcome:
        self.plans.append(plan)
        self.directory, self.embedded, self.keep = directory, embedded, keep
        if self.raises is not None:
            raise self.raises
        return self.outcome

    @property
    def plan(self) -> AbPlan:
        assert self.plans
        return self.plans[-1]

    def ends(self, **changes: Any) -> None:
        """Let it end like this."""
        self.outcome = AbOutcome(result=msgspec.structs.replace(self.outcome.result, **changes))

    def finds(self, verdict: Verdict) -> None:
        """Let the verdict be this."""
        comparison = self.outcome.result.comparison
        assert comparison is not None
        unfit = (Unfit(run="run 3", side="B", why="3 of 100 ticks never reached the consumer"),)
        is_told = verdict is Verdict.INCOMPARABLE
        gates = tuple(
            each if is_told else msgspec.structs.replace(each, verdict=verdict)
            for each in comparison.gates
        )
        self.ends(
            comparison=msgspec.structs.replace(
                comparison, verdict=verdict, gates=gates, unfit=unfit if is_told else ()
            )
        )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    return Sessions(monkeypatch)


class Call:
    """`latbench ab` in a directory of its own, with a file's name."""

    def __init__(self, caller: Caller, directory: Path) -> None:
        self._caller = caller
        self.directory = directory

    def __call__(self, *words: object) -> Finished:
        return self._caller(
            "ab", *words, "--output", "s.parquet", "--overwrite", cwd=self.directory
        )


@pytest.fixture
def call(call_latbench: Caller, tmp_path: Path) -> Call:
    return Call(call_latbench, tmp_path)


# --- what is compared


def test_options_become_a_plan(made: Sessions, call: Call) -> None:
    options = (
        "--a", "--linger 0", "--b", "--linger 5 --producer 'client.id=a b'",
        "--gate", "kafka.p99=15%", "--gate", "p50=5%", "--pairs", "12", "--most-pairs", "13",
        "--order-seed", "7", "--calibrate", "--keep-runs", "--tick-rate", "6000",
        "--acks", "1", "--no-hiccups",
    )  # fmt: skip
    run = call(*options)
    assert run.code == 0, run.talk
    plan = made.plan
    assert plan.a == Variant(command=(), options=("--linger", "0"))
    assert plan.b.options == ("--linger", "5", "--producer", "client.id=a b")
    assert [str(gate) for gate in plan.gates] == ["kafka.p99 +15 %", "end_to_end.p50 +5 %"]
    assert (plan.pairs, plan.most_pairs, plan.seed, plan.calibrate) == (12, 13, 7, True)
    own = ("--tick-rate", "6000", "--acks", "1", "--no-hiccups")
    assert plan.common == ("--warmup", "1s", "--duration", "3s", *own)
    assert made.keep
    assert made.directory == Path("s.runs")
    assert made.embedded


def test_by_default_ten_pairs_of_three_seconds_look_at_p50_and_p99(
    made: Sessions, call: Call
) -> None:
    run = call(*B)
    assert run.code == 0, run.talk
    assert made.plan == AbPlan(
        a=Variant(command=(), options=()),
        b=Variant(command=(), options=("--linger", "5")),
        common=DEFAULTS,
        gates=make_plan().gates,
        pairs=10,
        most_pairs=20,
        seed=1,
    )
    assert not made.keep
    assert "about 114 s, 3 min 38 s if it is close" in run.stderr


def test_most_pairs_are_twice_the_pairs_unless_given(made: Sessions, call: Call) -> None:
    call(*B, "--pairs", "8")
    assert (made.plan.pairs, made.plan.most_pairs) == (8, 16)
    call(*B, "--pairs", "8", "--most-pairs", "8")
    assert made.plan.looks == (8,)


def test_other_installations_are_commands(made: Sessions, call: Call) -> None:
    python = sys.executable
    run = call("--a-cmd", f"{python} -m latbench", "--b-cmd", "sh -c 'x y'")
    assert run.code == 0, run.talk
    assert made.plan.a.command == (python, "-m", "latbench")
    assert made.plan.b.command == ("sh", "-c", "x y")
    assert made.plan.common == DEFAULTS


def test_options_of_another_installation_are_its_own_business(made: Sessions, call: Call) -> None:
    run = call("--b-cmd", "sh", "--b", "--brand-new 1")
    assert run.code == 0, run.talk
    assert made.plan.b.options == ("--brand-new", "1")


def test_a_against_a_is_refused_unless_it_is_meant(made: Sessions, call: Call) -> None:
    run = call()
    assert run.code == 2
    assert run.stderr.splitlines() == [
        "error: A and B are the same",
        "hint: write --b '--linger 5', or --b-cmd",
    ]
    assert call("--a", "--linger 5").code == 0
    assert made.plan.b.options == ()
    assert call("--b", "").code == 0  # on purpose: how well the machine repeats itself


# --- defaults only where nothing else is said


def given(plan: AbPlan) -> dict[str, str]:
    return dict(zip(plan.common[::2], plan.common[1::2], strict=True))


def test_what_is_given_for_both_sides_takes_the_place_of_a_default(
    made: Sessions, call: Call
) -> None:
    call(*B, "--duration", "7s", "--warmup=2s")
    assert made.plan.common == ("--tick-rate", "4000", "--duration", "7s", "--warmup=2s")


def test_what_is_given_to_both_alike_does_too(made: Sessions, call: Call) -> None:
    run = call("--a", "--tick-rate 6000", "--b", "--tick-rate 6000 --linger 5")
    assert run.code == 0, run.talk
    assert given(made.plan) == {"--warmup": "1s", "--duration": "3s"}


def test_the_environment_does_too(
    made: Sessions, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICK_RATE", "5000")
    monkeypatch.setenv("DURATION", "4s")
    run = call(*B)
    assert run.code == 0, run.talk
    assert given(made.plan) == {"--warmup": "1s"}
    assert "about 2 min 16 s" in run.stderr  # 22 runs of 1 s, 4 s and a start


def test_a_file_of_options_does_too(made: Sessions, call: Call) -> None:
    (call.directory / "l.toml").write_text('tick-rate = 5000\nwarmup = "0.5s"\nlinger = 2\n')
    run = call(*B, "--config", "l.toml")
    assert run.code == 0, run.talk
    assert given(made.plan) == {"--duration": "3s", "--config": "l.toml"}


def test_a_replay_has_a_rate_of_its_own(made: Sessions, call: Call) -> None:
    rows = [f"{second},A,1,1,1,1,1,1" for second in range(1, 9)]
    head = "timestamp,symbol,price,volume,bid,ask,bid_size,ask_size"
    (call.directory / "ticks.csv").write_text("\n".join([head, *rows, ""]))
    run = call(*B, "--source", "ticks.csv")
    assert run.code == 0, run.talk
    assert "--tick-rate" not in given(made.plan)
    assert run.stderr.splitlines()[0] == "Pairs of runs, A and B in turn."


@pytest.mark.parametrize(
    ("options", "embedded"),
    [
        ((), True),
        (("--broker", "embedded"), True),
        (("--broker", "localhost:9092"), False),
        (("--broker", "embedded@127.0.0.1:1234"), False),
    ],
)
def test_only_where_latbench_brings_the_broker_it_is_kept(
    options: tuple[str, ...], embedded: bool, made: Sessions, call: Call
) -> None:
    assert call(*B, *options).code == 0
    assert made.embedded is embedded


def test_a_broker_of_the_environment_is_another(
    made: Sessions, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    assert call(*B).code == 0
    assert made.embedded is False


# --- what is refused

NO_LATBENCH = "name a latbench that is there, such as /old/bin/latbench"
LEAVE_OUT = "leave it out; --output and --json after `latbench ab` are the session's own"
FOR_BOTH = "give such options for both sides, after `latbench ab`"


@pytest.mark.parametrize(
    ("options", "complaint", "hint"),
    [
        (
            ("--b", "--tick-rate 6000"),
            "A and B differ in tick-rate (1,000/s, 6,000/s): nothing can be said of which is "
            "slower then",
            FOR_BOTH,
        ),
        (
            ("--b", "--seed 2"),
            "A and B differ in seed (1, 2): nothing can be said of which is slower then",
            FOR_BOTH,
        ),
        (
            ("--b", "--broker localhost:9092"),
            "A and B differ in broker (embedded, localhost:9092): nothing can be said of which is "
            "slower then",
            FOR_BOTH,
        ),
        (("--b", "--output x"), "--output has no meaning for the runs of a session", LEAVE_OUT),
        (("--a", "--json"), "--json has no meaning for the runs of a session", LEAVE_OUT),
        ((*B, "--name=x"), "--name=x has no meaning for the runs of a session", LEAVE_OUT),
        ((*B, "--no-live"), "--no-live has no meaning for the runs of a session", LEAVE_OUT),
        ((*B, "--floor"), "--floor has no meaning for the runs of a session", LEAVE_OUT),
        (("--b", "--help"), "--help has no meaning for the runs of a session", LEAVE_OUT),
        (("--b", "-h"), "-h has no meaning for the runs of a session", LEAVE_OUT),
        ((*B, "--no-such"), "no such option: --no-such", "latbench ab --help"),
        (("--b", "--no-such 1"), "no such option: --no-such", "latbench ab --help"),
        ((*B, "word"), "got unexpected extra argument(s) (word)", "latbench ab --help"),
        (("--b", "--linger x"), "--linger 'x' is not a number of milliseconds", "write --linger 1"),
        (
            ("--b", "--producer no.such=1"),
            "no producer property is called 'no.such'",
            "librdkafka's CONFIGURATION.md lists them",
        ),
        (
            (*B, "--source", "missing.ws"),
            "missing.ws is not there",
            "give --source a file of recorded ticks",
        ),
        (
            (*B, "--tick-rate", "1000"),
            "end_to_end.p99 takes 10,000 ticks a run to be known, there are 3,000",
            "lengthen --duration, raise --tick-rate, or gate a lower percentile",
        ),
        (
            (*B, "--pairs", "7"),
            "--pairs 7 can't decide 2 gates: it takes 8 pairs until an interval has two ends",
            "write --pairs 8",
        ),
        (
            (*B, "--pairs", "0"),
            "--pairs '0' is not a whole number from 1 to 200",
            "write --pairs 1",
        ),
        (
            (*B, "--most-pairs", "9"),
            "--most-pairs '9' is not a whole number from 10 to 400",
            "write --most-pairs 10",
        ),
        (
            (*B, "--order-seed", "x"),
            "--order-seed 'x' is not a whole number from 0 to 9,223,372,036,854,775,807",
            "write --order-seed 1",
        ),
        ((*B, "--gate", "p99"), "--gate 'p99' is not HOP.STATISTIC=PERCENT", "write --gate"),
        (
            ("--b", "--linger '5"),
            "--b \"--linger '5\" can't be split into words: no closing quotation",
            "write --b '--linger 5'",
        ),
        (
            ("--a-cmd", "sh 'x", *B),
            "--a-cmd \"sh 'x\" can't be split into words: no closing quotation",
            "write --a-cmd /old/bin/latbench",
        ),
        (
            ("--b-cmd", "/no/such/latbench"),
            "--b-cmd '/no/such/latbench' is no command that can be run",
            NO_LATBENCH,
        ),
    ],
)
def test_what_can_not_be_is_refused_before_anything_starts(
    options: tuple[str, ...],
    complaint: str,
    hint: str,
    made: Sessions,
    call_latbench: Caller,
    tmp_path: Path,
) -> None:
    run = call_latbench("ab", *options, cwd=tmp_path)
    assert run.code == 2, run.talk
    error, told = run.stderr.splitlines()
    assert error.startswith(f"error: {complaint}")
    assert told.startswith(f"hint: {hint}")
    assert run.stdout == ""
    assert made.plans == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_replaced(
    made: Sessions, call_latbench: Caller, tmp_path: Path
) -> None:
    (tmp_path / "s.parquet").write_text("mine")
    run = call_latbench("ab", *B, "--output", "s.parquet", cwd=tmp_path)
    assert run.code == 2
    assert "s.parquet is there already" in run.stderr
    assert made.plans == []


def test_a_source_that_is_no_file_or_a_word_that_is_no_option_of_run_is_told_by_run() -> None:
    with pytest.raises(UsageError, match="--speed is for a replay"):
        read_run_options(["--speed", "2"])


def test_reading_options_makes_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TICK_RATE", raising=False)
    asked = read_run_options(["--linger", "5", "--no-hiccups"])
    assert asked.config is not None
    assert (asked.config.linger_ms, asked.config.hiccups) == (5.0, False)
    assert asked.given == {"linger", "hiccups"}
    assert list(tmp_path.iterdir()) == []


# --- what it writes and prints


def test_json_has_everything_but_histograms_and_is_all_there_is(made: Sessions, call: Call) -> None:
    run = call(*B, "--json", "--keep-runs")
    told = run.result
    result = made.outcome.result
    assert told["files"] == ["s.parquet", "s.runs"]
    assert all("histograms" not in each for each in told["runs"])
    for each in told["runs"]:
        each["histograms"] = {"end_to_end": "HISTFAAA"}
    assert msgspec.convert(told, AbResult) == result
    assert read_ab(call.directory / "s.parquet") == result


def test_the_default_file_goes_to_bench_results(
    made: Sessions, call_latbench: Caller, tmp_path: Path
) -> None:
    assert call_latbench("ab", *B, cwd=tmp_path).code == 0
    (path,) = (tmp_path / "bench-results").iterdir()
    assert path.name.endswith("-ab.parquet")
    assert made.directory.name == f"{path.stem}.runs"


@pytest.mark.parametrize(
    ("verdict", "code", "strict_code", "warning"),
    [
        (Verdict.PASS, 0, 0, ""),
        (Verdict.REGRESSION, 3, 3, ""),
        (
            Verdict.INCONCLUSIVE,
            0,
            4,
            "warning: inconclusive: nothing is decided; --strict makes it exit 4",
        ),
        (
            Verdict.INCOMPARABLE,
            0,
            4,
            "warning: incomparable: nothing was compared; --strict makes it exit 4",
        ),
    ],
)
def test_exit_codes(
    verdict: Verdict, code: int, strict_code: int, warning: str, made: Sessions, call: Call
) -> None:
    made.finds(verdict)
    run = call(*B)
    assert run.code == code, run.talk
    assert ("warning" in run.stderr) is bool(warning)
    assert warning in run.stderr
    strict = call(*B, "--strict")
    assert strict.code == strict_code
    assert "warning" not in strict.stderr


def test_nothing_compared_is_no_verdict(made: Sessions, call: Call) -> None:
    made.ends(comparison=None)
    assert call(*B).code == 0
    assert call(*B, "--strict").code == 4


# --- endings


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_an_interrupted_session_has_measured_is_written(
    number: signal.Signals, made: Sessions, call: Call
) -> None:
    made.ends(status=AbStatus.INTERRUPTED)
    made.finds(Verdict.REGRESSION)
    made.outcome = msgspec.structs.replace(made.outcome, signal=number)
    run = call(*B)
    assert run.code == 128 + number
    assert read_ab(call.directory / "s.parquet").status is AbStatus.INTERRUPTED


def test_an_interruption_before_the_first_run_leaves_nothing(made: Sessions, call: Call) -> None:
    made.raises = Interrupted(signal.SIGINT)
    run = call(*B)
    assert (run.code, run.stdout) == (130, "")
    assert run.stderr.splitlines()[-1] == "interrupted before the first run had ended"
    assert list(call.directory.iterdir()) == []


def test_a_failed_session_is_told_and_what_it_measured_is_written(
    made: Sessions, call: Call
) -> None:
    made.ends(status=AbStatus.FAILED, failure="the relay died")
    made.outcome = msgspec.structs.replace(made.outcome, hint="see its log")
    run = call(*B)
    assert run.code == 1
    assert run.stderr.splitlines()[-2:] == ["error: the relay died", "hint: see its log"]
    assert read_ab(call.directory / "s.parquet").failure == "the relay died"


def test_a_session_that_could_not_begin_is_told(made: Sessions, call: Call) -> None:
    made.raises = LatbenchError("no broker answers", "start one")
    run = call(*B)
    assert run.code == 1
    assert run.stderr.splitlines()[-2:] == ["error: no broker answers", "hint: start one"]
    assert list(call.directory.iterdir()) == []


# --- on GitHub


@pytest.mark.parametrize(
    ("verdict", "line"),
    [
        (Verdict.REGRESSION, "::error title=latbench ab::Regression: "),
        (Verdict.PASS, "::notice title=latbench ab::Pass: "),
        (Verdict.INCONCLUSIVE, "::warning title=latbench ab::Inconclusive: "),
        (Verdict.INCOMPARABLE, "::warning title=latbench ab::Incomparable: run 3 (B) "),
    ],
)
def test_the_verdict_is_an_annotation_on_github(
    verdict: Verdict, line: str, made: Sessions, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.finds(verdict)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    plain = call(*B).stdout
    assert "::" not in plain
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    told = call(*B).stdout
    assert told.startswith(plain)
    (last,) = told.removeprefix(plain).splitlines()
    assert last.startswith(line)
    assert "::" not in call(*B, "--json").stdout


def test_a_session_that_failed_is_an_error_on_github(
    made: Sessions, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.ends(status=AbStatus.FAILED, failure="the relay died: 100 %", comparison=None, runs=())
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert call(*B).stdout.splitlines()[-1] == (
        "::error title=latbench ab::the relay died: 100 %25"
    )
