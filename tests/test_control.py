from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench import control
from latbench.arrivals import Arrivals
from latbench.clock import WallAnchor
from latbench.control import FromStage, StageEnd, SupervisorEnd, ToStage
from latbench.plan import (
    BrokerPlan,
    ConsumerPlan,
    EchoPlan,
    GeneratorPlan,
    ProbePlan,
    RelayPlan,
    ReplaySource,
    SimulatedSource,
)

texts = st.text(max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1)
symbols = st.lists(texts, max_size=4).map(tuple)
maybe = st.none() | numbers
properties = st.dictionaries(
    texts, texts | numbers | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
)
sources = st.builds(
    SimulatedSource, symbols, numbers, st.sampled_from(Arrivals), numbers
) | st.builds(ReplaySource, texts, symbols, st.floats(0, 1e6), st.booleans())
plans = st.one_of(
    st.builds(
        GeneratorPlan,
        run_id=texts,
        cpu=maybe,
        url=texts,
        ws_engine=texts,
        source=sources,
        horizon_ns=maybe,
    ),
    st.builds(
        RelayPlan,
        run_id=texts,
        cpu=maybe,
        host=texts,
        port=numbers,
        ws_engine=texts,
        topic=texts,
        producer=properties,
        partitions=maybe,
    ),
    st.builds(
        ConsumerPlan, run_id=texts, cpu=maybe, topic=texts, partitions=numbers, consumer=properties
    ),
    st.builds(BrokerPlan, run_id=texts, cpu=maybe),
    st.builds(EchoPlan, run_id=texts, cpu=maybe, ws_engine=texts),
    st.builds(
        ProbePlan,
        run_id=texts,
        cpu=maybe,
        tcp_address=st.tuples(texts, numbers),
        ws_address=st.tuples(texts, numbers),
        ws_engine=texts,
        topic=texts,
        producer=properties,
        consumer=properties,
        producer_cpu=maybe,
        consumer_cpu=maybe,
        samples=numbers,
        interval_ns=numbers,
    ),
)
to_stage = st.one_of(
    st.builds(control.Work, plans),
    st.builds(control.Start, numbers, st.builds(WallAnchor, numbers, numbers)),
    st.builds(control.Until, numbers),
    st.just(control.Stop()),
)
from_stage = st.one_of(
    st.builds(control.Ready, numbers, texts, numbers),
    st.builds(control.Done),
    st.builds(control.Said, texts),
    st.builds(control.Measured, texts, st.lists(numbers)),
    st.builds(control.Failed, texts, texts, numbers),
)
cuts = st.lists(st.integers(0, 2000), max_size=6)


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def pieces(messages: list[ToStage] | list[FromStage], cuts: list[int]) -> list[bytes]:
    """What the messages look like on the wire, cut at these places."""
    with pair() as (ours, theirs):
        for message in messages:
            StageEnd(theirs).send(message)
        theirs.shutdown(socket.SHUT_WR)
        ours.setblocking(True)
        with ours.makefile("rb") as file:
            wire = file.read()
    places = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    return [wire[begin:end] for begin, end in itertools.pairwise(places)]


@given(st.lists(to_stage, max_size=5), cuts)
def test_a_stage_hears_the_supervisors_words_however_they_are_split(
    messages: list[ToStage], cuts: list[int]
) -> None:
    with pair() as (ours, theirs):
        stage, heard = StageEnd(theirs), []
        for piece in pieces(messages, cuts):
            ours.sendall(piece)
            got = stage.receive()
            assert got is not None
            heard += got
        assert heard == messages
        ours.close()
        assert stage.receive() is None


@given(st.lists(from_stage, max_size=5), cuts)
def test_the_supervisor_hears_a_stages_words_however_they_are_split(
    messages: list[FromStage], cuts: list[int]
) -> None:
    with pair() as (ours, theirs):
        supervisor, heard = SupervisorEnd(ours), []
        for piece in pieces(messages, cuts):
            theirs.sendall(piece)
            heard += supervisor.receive()
        assert heard == messages
        assert supervisor.receive() == []  # never blocks


@given(st.lists(from_stage, max_size=5))
def test_the_last_words_of_a_stage_that_has_ended_are_still_heard(
    messages: list[FromStage],
) -> None:
    with pair() as (ours, theirs):
        stage, supervisor = StageEnd(theirs), SupervisorEnd(ours)
        for message in messages:
            stage.send(message)
        theirs.close()
        assert supervisor.receive() == messages
        assert supervisor.receive() == []


@given(st.lists(to_stage, max_size=5))
def test_the_supervisors_words_arrive_over_its_own_end(messages: list[ToStage]) -> None:
    with pair() as (ours, theirs):
        supervisor, stage = SupervisorEnd(ours), StageEnd(theirs)
        heard = []
        for message in messages:
            supervisor.send(message)
            heard += stage.receive() or []
        assert heard == messages


def test_half_a_message_at_the_end_is_no_message() -> None:
    with pair() as (ours, theirs):
        supervisor = SupervisorEnd(ours)
        theirs.sendall(b'{"type":"ready","port":7}\n{"type":"ready","po')
        theirs.close()
        assert supervisor.receive() == [control.Ready(port=7)]
        assert supervisor.receive() == []


def test_a_word_to_a_peer_that_has_ended_is_no_error() -> None:
    with pair() as (ours, theirs):
        theirs.close()
        SupervisorEnd(ours).send(control.Stop())
        SupervisorEnd(ours).send(control.Stop())


def test_a_reset_connection_is_heard_as_silence() -> None:
    with pair() as (ours, theirs):
        ours.sendall(b"never read: the peer's end then counts as a reset")
        theirs.close()
        assert SupervisorEnd(ours).receive() == []


@pytest.mark.parametrize("size", [1 << 16, 150_000])
def test_a_message_larger_than_one_read_arrives_whole(size: int) -> None:
    with pair() as (ours, theirs):
        message = control.Work(BrokerPlan(run_id="r" * size))
        SupervisorEnd(ours).send(message)
        stage = StageEnd(theirs)
        heard: list[ToStage] = []
        while not heard:
            heard += stage.receive() or []
        assert heard == [message]
