from __future__ import annotations

import os
import signal
import stat
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from latbench import processes
from latbench.clock import WallAnchor
from latbench.control import Done, Failed, Ready, Start, Stop, Work
from latbench.errors import ExitCode
from latbench.plan import BrokerPlan
from latbench.processes import Crew, StageProcess
from latbench.ring import RingReader, create_memory

START = Start(start_ns=1, anchor=WallAnchor(monotonic_ns=1, unix_ns=2))

# stands for `python -m latbench STAGE`: runs what the test wrote down for the stage
STAGE = """\
#!{python}
import os, signal, socket, sys, time
from latbench.control import *
from latbench.ring import RingWriter

stage = sys.argv[3]
end = StageEnd(socket.socket(fileno=int(os.environ[STAGE_FD_VARIABLE])))
log, *fds = end.receive_descriptors()
os.dup2(log, 1)
os.dup2(log, 2)

def hear():
    heard = []
    while not heard:
        messages = end.receive()
        if messages is None:
            sys.exit(9)  # the supervisor is gone
        heard += messages
    return heard

exec(open(os.path.join(os.path.dirname(sys.argv[0]), stage + ".py")).read())
"""
OBEDIENT = """
    heard = hear()
    end.send(Ready(port=5))
    while not isinstance(heard[-1], Stop):
        heard = hear()
    end.send(Done())
"""
DYING = "os.kill(os.getpid(), signal.SIGKILL)"
FAILING = 'end.send(Failed("no " + stage, "mend it", 4)); hear(); sys.exit(4)'


class Theatre:
    """A crew whose stages do what they are told here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.crew = Crew()
        self.script = path / "stage"
        self.script.write_text(STAGE.format(python=sys.executable))
        self.script.chmod(self.script.stat().st_mode | stat.S_IXUSR)

    def hire(
        self, stage: str, code: str, ring_descriptors: list[int] | None = None
    ) -> StageProcess:
        (self.path / f"{stage}.py").write_text(textwrap.dedent(code))
        self.crew.hire(stage, ring_descriptors or [], self.path / f"{stage}.log")
        return self.crew[stage]

    def prepare(self, stage: str, code: str) -> None:
        (self.path / f"{stage}.py").write_text(textwrap.dedent(code))
        self.crew.prepare(stage)

    def listen_until(self, happened: Callable[[], object]) -> list[str]:
        said, deadline_s = [], time.monotonic() + 30
        while not happened():
            assert time.monotonic() < deadline_s
            said += self.crew.listen(0.05)
        return said


@pytest.fixture
def theatre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Theatre]:
    theatre = Theatre(tmp_path)
    monkeypatch.setattr(processes.sys, "executable", str(theatre.script))
    yield theatre
    for member in theatre.crew.members.values():
        member.kill()
        member.close()
    theatre.crew.dismiss_spares()


def test_a_stage_goes_from_its_start_to_its_end(theatre: Theatre) -> None:
    relay = theatre.hire("relay", OBEDIENT)
    assert (relay.state, relay.describe_end(), relay.broken) == ("starting", "still running", False)
    assert os.getsid(relay.pid) == relay.pid  # a Ctrl-C at the terminal does not reach it
    relay.send(Work(BrokerPlan(run_id="r")))
    assert relay.state == "preparing"
    theatre.listen_until(lambda: relay.state == "ready")
    assert relay.ready == Ready(port=5)
    relay.send(START)
    assert relay.state == "running"
    relay.send(Stop())
    theatre.listen_until(lambda: relay.ended)
    theatre.crew.listen()
    assert (relay.state, relay.done, relay.broken) == ("done", Done(), False)
    assert relay.describe_end() == "exit code 0"
    assert theatre.crew.failure() is None


def test_a_stage_gets_its_rings_and_nothing_else(theatre: Theatre) -> None:
    rings, other = [create_memory(2, 8) for _ in range(2)], create_memory(2, 8)
    code = f"""
        for number, fd in enumerate(fds):
            RingWriter(fd, 2).push(number, 42)
        try:
            os.fstat({other})
        except OSError:
            end.send(Said("closed"))
        end.send(Said(str(len(fds)) + " rings"))
        end.send(Done())
    """
    stage = theatre.hire("relay", code, rings)
    said = theatre.listen_until(lambda: stage.done)
    assert said == ["closed", "2 rings"]
    for number, descriptor in enumerate(rings):
        assert RingReader(descriptor, 2).drain(last=True).tolist() == [[number, 42]]
    for descriptor in (*rings, other):
        os.close(descriptor)


def test_a_stage_that_is_killed_is_told_by_its_signal(theatre: Theatre) -> None:
    relay = theatre.hire("relay", DYING)
    theatre.listen_until(lambda: relay.broken)
    assert (relay.state, relay.describe_end()) == ("died", "killed by SIGKILL")
    failure = theatre.crew.failure()
    assert failure is not None
    assert failure.message == "the relay died (killed by SIGKILL)"


def test_a_stage_that_leaves_without_a_word_is_told_by_its_exit_code(theatre: Theatre) -> None:
    relay = theatre.hire("relay", 'print("oops", file=sys.stderr); sys.exit(3)')
    theatre.listen_until(lambda: relay.broken)
    assert (relay.state, relay.describe_end()) == ("died", "exit code 3")
    assert relay.log_tail() == ["oops"]


def test_a_stage_that_says_why_it_fails_is_quoted(theatre: Theatre) -> None:
    relay = theatre.hire("relay", FAILING)
    theatre.listen_until(lambda: relay.broken)
    assert (relay.state, relay.failed) == ("failed", Failed("no relay", "mend it", 4))
    failure = theatre.crew.failure()
    assert failure is not None
    assert (failure.message, failure.hint) == ("no relay", "mend it")
    assert failure.exit_code is ExitCode.INVALID


def test_the_last_words_of_a_stage_that_has_ended_are_not_missed(theatre: Theatre) -> None:
    relay = theatre.hire("relay", 'end.send(Said("bye")); end.send(Done())')
    relay.process.wait(30)
    assert theatre.crew.listen() == ["bye"]
    assert theatre.crew.listen() == []
    assert (relay.state, relay.done) == ("done", Done())


def test_a_death_is_blamed_before_a_complaint_and_the_nearest_to_the_broker_first(
    theatre: Theatre,
) -> None:
    for stage, code in (
        ("generator", FAILING),
        ("consumer", DYING),
        ("broker", FAILING),
        ("relay", DYING),
    ):
        theatre.hire(stage, code)
    crew = theatre.crew
    theatre.listen_until(lambda: len(crew.broken) == 4)
    expected = ["relay", "consumer", "broker", "generator"]
    assert [member.stage for member in crew.broken] == expected
    failure = crew.failure()
    assert failure is not None
    assert failure.message == "the relay died (killed by SIGKILL)"
    # and so it stays once those that complained have ended as well
    for stage in ("broker", "generator"):
        crew[stage].send(Stop())
        crew[stage].process.wait(30)
    crew.listen()
    assert [member.stage for member in crew.broken] == expected


def test_a_sound_stage_beside_a_broken_one_is_not_blamed(theatre: Theatre) -> None:
    theatre.hire("broker", OBEDIENT)
    theatre.hire("generator", FAILING)
    theatre.listen_until(lambda: theatre.crew.broken)
    assert [member.stage for member in theatre.crew.broken] == ["generator"]


def test_only_the_end_of_a_log_is_quoted_and_no_blank_line(theatre: Theatre) -> None:
    relay = theatre.hire("relay", OBEDIENT)
    assert relay.log_tail() == []
    lines = "".join(f"line {number}\n\n" for number in range(9))
    relay.log_path.write_bytes(lines.encode() + b"   \nnot UTF-8: \xff")
    *last, odd = relay.log_tail()
    assert last == ["line 5", "line 6", "line 7", "line 8"]
    assert odd.startswith("not UTF-8: ")
    relay.log_path.unlink()
    assert relay.log_tail() == []


def test_stop_is_said_only_once(theatre: Theatre) -> None:
    code = """
        heard = []
        while not heard or not isinstance(heard[-1], Start):
            heard += hear()
        end.send(Said(" ".join(type(message).__name__ for message in heard)))
        end.send(Done())
    """
    relay = theatre.hire("relay", code)
    for message in (Stop(), Stop(), START):
        relay.send(message)
    assert theatre.listen_until(lambda: relay.done) == ["Stop Start"]


def test_a_stage_that_will_not_stop_is_killed(theatre: Theatre) -> None:
    relay = theatre.hire("relay", "end.send(Ready())\nwhile True: time.sleep(1)")
    theatre.listen_until(lambda: relay.ready)
    relay.end(timeout_s=0.1)
    assert (relay.ended, relay.state) == (True, "died")
    assert relay.describe_end() == "killed by SIGKILL"


@pytest.mark.parametrize("broker", [["broker"], []])
def test_a_crew_ends_with_the_source_of_work_first_and_leaves_none_running(
    theatre: Theatre, broker: list[str]
) -> None:
    order = theatre.path / "order"
    code = f"{OBEDIENT}    open({str(order)!r}, 'a').write(stage + ' ')"
    for stage in (*broker, "consumer", "relay", "generator"):
        theatre.hire(stage, code).send(Work(BrokerPlan(run_id="r")))
    theatre.crew.end()
    assert all(member.ended for member in theatre.crew.members.values())
    assert {member.state for member in theatre.crew.members.values()} == {"done"}
    assert order.read_text().split() == ["generator", "relay", "consumer", *broker]


def test_a_stage_sees_that_the_supervisor_is_gone(theatre: Theatre) -> None:
    relay = theatre.hire("relay", OBEDIENT)
    relay.control.sock.close()
    assert relay.process.wait(30) == 9


def test_waiting_ends_with_the_first_word(theatre: Theatre) -> None:
    relay = theatre.hire("relay", 'end.send(Said("now")); hear()')
    began_s = time.monotonic()
    processes.wait_for_words([relay], 60)
    assert time.monotonic() - began_s < 30
    assert theatre.crew.listen() == ["now"]


def test_a_stage_that_has_ended_does_not_cut_the_waiting_short(theatre: Theatre) -> None:
    relay = theatre.hire("relay", DYING)
    relay.process.wait(30)
    began_s = time.monotonic()
    theatre.crew.listen(0.05)
    assert time.monotonic() - began_s >= 0.045


def test_a_process_started_ahead_becomes_the_stage_that_is_hired(theatre: Theatre) -> None:
    ring = create_memory(2, 8)
    code = """
        RingWriter(fds[0], 2).push(7, 42)
        print("late")
        end.send(Done())
    """
    theatre.prepare("relay", code)
    theatre.prepare("broker", OBEDIENT)
    assert theatre.crew.members == {}
    relay = theatre.hire("relay", code, [ring])
    theatre.listen_until(lambda: relay.done)
    theatre.listen_until(lambda: relay.ended)
    assert RingReader(ring, 2).drain(last=True).tolist() == [[7, 42]]
    assert relay.log_tail() == ["late"]
    os.close(ring)


def test_a_process_that_dies_before_it_is_hired_is_told_with_its_last_words(
    theatre: Theatre,
) -> None:
    # as `python` does when a library can't be imported
    first_line = theatre.script.read_text().splitlines()[0]
    theatre.script.write_text(f"{first_line}\nimport no_such_library\n")
    theatre.prepare("relay", "")
    spare = theatre.crew._spares["relay"]
    spare.process.wait()
    relay = theatre.hire("relay", "")
    theatre.listen_until(lambda: relay.broken)
    assert (relay.state, relay.describe_end()) == ("died", "exit code 1")
    assert relay.log_tail()[-1] == "ModuleNotFoundError: No module named 'no_such_library'"
    relay.end()
    assert relay.log_tail() == []


def test_processes_that_are_not_hired_are_ended(theatre: Theatre) -> None:
    theatre.prepare("relay", OBEDIENT)
    theatre.prepare("broker", OBEDIENT)
    processes = [spare.process for spare in theatre.crew._spares.values()]
    relay = theatre.hire("relay", OBEDIENT)
    theatre.crew.dismiss_spares()
    assert [process.poll() for process in processes] == [None, -signal.SIGKILL]
    assert not relay.ended
    theatre.crew.dismiss_spares()  # none is left
