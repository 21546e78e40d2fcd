from __future__ import annotations

import itertools
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench import tick
from latbench.tick import (
    HOPS,
    PARTS,
    STAMPS,
    HopKind,
    decode_relayed,
    decode_sent,
    read_symbol,
    relayed_suffix,
    sent_suffix_format,
    splice_relayed,
    splice_relayed_plainly,
)

RUN_ID = "5f1c09ab"
SUFFIX = sent_suffix_format(RUN_ID)
LATENCY_LIMIT_NS = 10**10
"""From here on a latency is wider."""
LATBENCH_OWN = ("latbench", "latency_t1", "latency_t2")

# what a careless splice would trip over: braces, quotes and our own member inside of strings
nasty_text = st.sampled_from(
    ["{", "}", "}}", '"', "\\", '"latbench":{', '{"latbench":{}}', ',"latbench":{', "\u20ac", "\0"]
)
texts = st.text(max_size=12) | st.lists(nasty_text, max_size=4).map("".join)
names = texts | st.just("latbench")
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
documents = st.dictionaries(texts, values, min_size=1, max_size=5).filter(
    lambda document: not set(document) & {*LATBENCH_OWN, "symbol", "product_id"}
)
moments = st.integers(min_value=0, max_value=2**50)
gaps = st.integers(min_value=0, max_value=10**14)


@st.composite
def stamps(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """`seq, due, sent, relay_in, relay_out`."""
    due_ns = 10**9 + draw(moments)
    sent_ns = due_ns + draw(gaps)
    relay_in_ns = sent_ns + draw(gaps | st.integers(-(10**9), -1))  # another host's clock
    return draw(moments), due_ns, sent_ns, relay_in_ns, relay_in_ns + draw(gaps)


def make_message(document: dict[str, Any], seq: int, due_ns: int, sent_ns: int) -> bytes:
    """What a generator sends of a document."""
    whole = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return whole[:-1] + SUFFIX % (seq, due_ns, sent_ns)


def expected(document: dict[str, Any], of: tuple[int, int, int, int, int]) -> dict[str, Any]:
    seq, due_ns, sent_ns, relay_in_ns, relay_out_ns = of
    return {
        **document,
        "latbench": {
            "run": RUN_ID,
            "seq": seq,
            "due_ns": due_ns,
            "sent_ns": sent_ns,
            "relay_in_ns": relay_in_ns,
            "relay_out_ns": relay_out_ns,
        },
        "latency_t1": pytest.approx((relay_in_ns - sent_ns) / 1e6, abs=1e-9, rel=1e-15),
        "latency_t2": pytest.approx((relay_out_ns - relay_in_ns) / 1e6, abs=1e-9, rel=1e-15),
    }


@given(documents, stamps())
def test_the_relay_adds_its_stamps_and_leaves_every_document_as_it_was(
    document: dict[str, Any], of: tuple[int, int, int, int, int]
) -> None:
    seq, due_ns, sent_ns, *relay_ns = of
    message = make_message(document, seq, due_ns, sent_ns)
    spliced = splice_relayed(message, sent_ns, *relay_ns)
    assert json.loads(spliced) == expected(document, of)
    assert spliced.startswith(message[: message.rindex(b"}}")])


@given(documents, stamps())
def test_the_fast_splice_says_what_the_plain_one_says(
    document: dict[str, Any], of: tuple[int, int, int, int, int]
) -> None:
    seq, due_ns, sent_ns, *relay_ns = of
    message = make_message(document, seq, due_ns, sent_ns)
    fast = json.loads(splice_relayed(message, sent_ns, *relay_ns))
    assert fast == json.loads(splice_relayed_plainly(message, sent_ns, *relay_ns))


@given(documents, stamps(), st.data())
def test_a_message_that_somebody_else_wrote_anew_is_spliced_as_well(
    document: dict[str, Any], of: tuple[int, int, int, int, int], data: st.DataObject
) -> None:
    seq, due_ns, sent_ns, *relay_ns = of
    members = json.loads(make_message(document, seq, due_ns, sent_ns))
    order = data.draw(st.permutations(list(members)))
    message = json.dumps(
        {name: members[name] for name in order},
        ensure_ascii=data.draw(st.booleans()),
        indent=data.draw(st.none() | st.integers(0, 2)),
        separators=data.draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", ":")])),
    ).encode() + data.draw(st.sampled_from([b"", b"\n", b"  "]))
    spliced = splice_relayed(message, sent_ns, *relay_ns)
    assert json.loads(spliced) == expected(document, of)
    assert json.loads(splice_relayed_plainly(message, sent_ns, *relay_ns)) == json.loads(spliced)


OWN = b'"latbench":{"run":"5f1c09ab","seq":7,"due_ns":1,"sent_ns":2}'


@pytest.mark.parametrize(
    "message",
    [
        b"{%b}" % OWN,
        b'{%b,"x":{"latbench":{"a":1}}}' % OWN,
        b'{%b,"x":{"latbench":{},"y":1}}' % OWN,
        b'{%b,"x":{"y":{"latbench":{}}}}' % OWN,
        b'{%b,"a\\"latbench":{"b":1}}' % OWN,
        b'{%b,"x":"\\"latbench\\":{"}' % OWN,
        b'{%b,"x":[{"latbench":{}}]}' % OWN,
        b'{"x":{"latbench":{"a":1}},%b}' % OWN,
        b'{"x":"}}",%b}' % OWN,
        b'{%b,"x":{}}' % OWN,
        b'{%b,"latency_t1":9}' % OWN,
    ],
)
def test_only_the_documents_own_stamps_are_spliced(message: bytes) -> None:
    fast = json.loads(splice_relayed(message, 2, 1_500_002, 1_500_007))
    assert fast == json.loads(splice_relayed_plainly(message, 2, 1_500_002, 1_500_007))
    assert fast["latbench"] == {
        "run": "5f1c09ab",
        "seq": 7,
        "due_ns": 1,
        "sent_ns": 2,
        "relay_in_ns": 1_500_002,
        "relay_out_ns": 1_500_007,
    }
    assert (fast["latency_t1"], fast["latency_t2"]) == (1.5, 0.000005)


def test_a_generators_message_takes_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tick, "splice_relayed_plainly")
    message = make_message({"symbol": "NIFTY", "depth": {"bid": [1, {}]}}, 7, 1, 2)
    assert splice_relayed(message, 2, 10_000_002, 12_345_678) == (
        message[:-2] + b',"relay_in_ns":            10000002,"relay_out_ns":            12345678},'
        b'"latency_t1":  10.000000,"latency_t2":   2.345676}'
    )


def test_a_messages_ends_are_as_wide_whatever_a_run_puts_into_them() -> None:
    assert {
        len(SUFFIX % (seq, moment, moment)) for seq in (0, 10**16 - 1) for moment in (0, 2**63 - 1)
    } == {len(SUFFIX % (0, 0, 0))}
    assert {
        len(relayed_suffix(0, latency_ns, 2 * latency_ns))
        for latency_ns in (0, 1, 999_999, 10**6, 10**9, LATENCY_LIMIT_NS - 1)
    } == {len(relayed_suffix(0, 0, 0))}
    # later a message is longer, and as right as any
    late = relayed_suffix(5, 5 + LATENCY_LIMIT_NS, 5 + 2 * LATENCY_LIMIT_NS)
    assert late.endswith(b'"latency_t1":10000.000000,"latency_t2":10000.000000}')


@pytest.mark.parametrize(
    ("t1_ns", "text"),
    [
        (0, b"   0.000000"),
        (1, b"   0.000001"),
        (-1, b"  -0.000001"),
        (-999_999, b"  -0.999999"),
        (-1_000_000, b"  -1.000000"),
        (-1_000_001, b"  -1.000001"),
        (-1_500_000, b"  -1.500000"),
        (-999_000_000, b"-999.000000"),
        (-(10**10) - 7, b"-10000.000007"),
    ],
)
def test_a_latency_of_a_sender_with_another_clock_is_below_zero(t1_ns: int, text: bytes) -> None:
    assert b'"latency_t1":%b,' % text in relayed_suffix(10**11, 10**11 + t1_ns, 10**11 + t1_ns)


@given(st.integers(0, 2**62), st.integers(-(2**62), 2**61), st.integers(0, 2**61))
def test_latencies_are_exact_to_the_nanosecond(sent_ns: int, t1_ns: int, t2_ns: int) -> None:
    relay_in_ns = sent_ns + t1_ns
    end = relayed_suffix(sent_ns, relay_in_ns, relay_in_ns + t2_ns)
    written = json.loads(b'{"latbench":{"a":0' + end, parse_float=Decimal)
    assert int(written["latency_t1"] * 10**6) == t1_ns
    assert int(written["latency_t2"] * 10**6) == t2_ns
    assert written["latbench"]["relay_in_ns"] == relay_in_ns
    assert written["latbench"]["relay_out_ns"] == relay_in_ns + t2_ns


@given(documents, stamps(), texts, texts)
def test_readers_find_the_stamps_and_the_symbol_in_any_document(
    document: dict[str, Any], of: tuple[int, int, int, int, int], symbol: str, product: str
) -> None:
    seq, due_ns, sent_ns, relay_in_ns, relay_out_ns = of
    keyed = {**document, "symbol": symbol, "product_id": product}
    message = make_message(keyed, seq, due_ns, sent_ns)
    sent = decode_sent(message)
    assert (sent.symbol, sent.product_id) == (symbol, product)
    assert sent.latbench == tick.Stamps(RUN_ID, seq, due_ns, sent_ns)
    relayed = decode_relayed(splice_relayed(message, sent_ns, relay_in_ns, relay_out_ns))
    assert relayed.latbench == tick.Stamps(RUN_ID, seq, due_ns, sent_ns, relay_in_ns, relay_out_ns)
    assert read_symbol(message) == symbol or product


@pytest.mark.parametrize(
    "message",
    [b"", b"{", b"{}", b"[]", b"7", b'{"latbench":{}}', b'{"latbench":7}', b'{"symbol":"A"}'],
)
def test_what_carries_no_stamps_is_no_tick(message: bytes) -> None:
    for decode in (decode_sent, decode_relayed):
        with pytest.raises(msgspec.DecodeError):
            decode(message)


@pytest.mark.parametrize("number", [-1, 2**63, 2**64, 1.5, '"7"', "null"])
@pytest.mark.parametrize("member", ["seq", "due_ns", "sent_ns"])
def test_a_number_that_no_ring_could_hold_makes_it_no_tick(member: str, number: object) -> None:
    members = {"run": f'"{RUN_ID}"', "seq": 7, "due_ns": 1, "sent_ns": 2, member: number}
    stamped = ",".join(f'"{name}":{value}' for name, value in members.items())
    for decode in (decode_sent, decode_relayed):
        with pytest.raises(msgspec.DecodeError):
            decode(b'{"latbench":{%b}}' % stamped.encode())


@pytest.mark.parametrize(
    ("document", "symbol"),
    [
        (b'{"symbol":"A"}', "A"),
        (b'{"product_id":"B"}', "B"),
        (b'{"product_id":"B","symbol":"A"}', "A"),
        (b'{"product_id":"B","symbol":""}', "B"),
        (b'{"price":1}', ""),
        (b'{"x":{"symbol":"A"}}', ""),
    ],
)
def test_the_symbol_comes_before_the_product_id(document: bytes, symbol: str) -> None:
    assert read_symbol(document) == symbol


def test_the_parts_lead_from_due_to_consumed_without_a_gap() -> None:
    assert [hop.name for hop in PARTS] == ["schedule", "websocket", "relay", "kafka"]
    assert all(before.end == after.start for before, after in itertools.pairwise(PARTS))
    (total,) = (hop for hop in HOPS if hop.kind is HopKind.TOTAL)
    assert (total.start, total.end) == (PARTS[0].start, PARTS[-1].end) == ("due", "consumed")


def test_every_hop_runs_forward_between_known_stamps() -> None:
    assert len({hop.name for hop in HOPS}) == len(HOPS) == len(tick.HOP_BY_NAME) - 1
    assert tick.HOP_BY_NAME["fanout"] is tick.FANOUT
    for hop in HOPS:
        assert STAMPS.index(hop.start) < STAMPS.index(hop.end)
        assert (hop.start_column, hop.end_column) == (f"{hop.start}_ns", f"{hop.end}_ns")
        assert tick.HOP_BY_NAME[hop.name] is hop
    assert {hop.name: hop.kind for hop in HOPS if hop not in PARTS} == {
        "end_to_end": HopKind.TOTAL,
        "ack": HopKind.SIDE,
        "service": HopKind.UNCORRECTED,
    }
