"""Where an option's value comes from: the command line, the environment, a file, the default."""

from __future__ import annotations

from pathlib import Path

from tests.cli import report, run_latbench
from tests.runs import check_whole

BRIEF = ("--duration", "0.3", "--warmup", "0", "--json")


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file, path = tmp_path / "latbench.toml", tmp_path / "run.parquet"
    file.write_text(
        'tick-rate = 100\nsymbols = ["FILE"]\ntopic = "from-file"\nseed = 5\nlinger = 2.5\n'
        'warmup = "100ms"\narrivals = "poisson"\nname = "from-file"\n'
        'allow = ["ticks-lost", "reordered"]\n[producer]\nlinger.ms = 1\n"batch.size" = 100000\n'
    )
    environment = {
        "TICK_RATE": "200",
        "SYMBOLS": "ENV,IRON",
        "KAFKA_TOPIC": "from-environment",
        "DURATION": "100ms",
        "WEBSOCKET_HOST": "localhost",
    }
    options = ("--config", file, "--tick-rate", "300", "--duration", "200ms", "--json")
    run = run_latbench(
        "run", *options, "--output", path, cwd=tmp_path, environment=environment, timeout_s=30
    )
    rows = check_whole(path, run)
    config = run.result["config"]
    assert config["tick_rate_hz"] == 300
    assert config["duration_ns"] == 200_000_000
    assert config["symbols"] == ["ENV", "IRON"]
    assert config["topic"] == "from-environment"
    assert config["ws_host"] == "localhost"
    assert config["seed"] == 5
    assert config["linger_ms"] == 2.5
    assert config["warmup_ns"] == 100_000_000
    assert config["arrivals"] == "poisson"
    assert config["name"] == "from-file"
    assert config["producer"] == {"linger.ms": "1", "batch.size": "100000"}
    assert config["acks"] == "all"
    assert config["allow"] == ["ticks-lost", "reordered"]
    assert config["warmup_auto"] is False
    assert {row["symbol"] for row in rows} == {"ENV", "IRON"}


def test_the_environment_alone_is_enough(tmp_path: Path) -> None:
    environment = {"TICK_RATE": "500", "DURATION": "400ms", "KAFKA_BOOTSTRAP_SERVERS": "embedded"}
    more = ("--warmup", "0", "--json", "--output", tmp_path / "run.parquet")
    run = run_latbench("run", *more, cwd=tmp_path, environment=environment)
    assert run.code == 0, run.talk
    assert run.result["counts"]["sent"] == 200
    assert run.result["broker"]["kind"] == "embedded"


def test_a_wrong_value_in_the_environment_is_told_like_any_other(tmp_path: Path) -> None:
    run = run_latbench("run", *BRIEF, cwd=tmp_path, environment={"TICK_RATE": "many"})
    assert run.code == 2
    assert run.stderr.splitlines()[0] == "error: tick rate 'many' is not a number"
    assert not list(tmp_path.iterdir())


def test_a_password_is_in_no_file_and_no_report(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    more = ("--producer", "sasl.password=tell-nobody", "--output", path)
    run = run_latbench("run", *BRIEF, *more, cwd=tmp_path)
    assert run.code == 0, run.talk
    assert "tell-nobody" not in run.talk
    assert b"tell-nobody" not in path.read_bytes()
    assert run.result["config"]["producer"] == {"sasl.password": "[secret]"}


def test_a_profile_is_in_the_file_as_what_it_set(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    options = ("--profile", "latency", "--linger", "1", "--output", path)
    run = run_latbench("run", *BRIEF, *options, cwd=tmp_path)
    assert run.code == 0, run.talk
    again = report(path, "--json", cwd=tmp_path)
    for config in (run.result["config"], again.result["config"]):
        assert config["linger_ms"] == 1.0
        assert config["coalesce_ns"] == 500_000
        assert config["realtime"] is True
        assert config["hiccups"] is False
    told = report(path, cwd=tmp_path)
    assert "real-time where permitted" in told.stdout
