from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench import config, market
from latbench.clock import NS_PER_S
from latbench.errors import LatbenchError
from latbench.market import Market, instrument_of
from latbench.tickfile import COLUMNS

SYMBOLS = config.DEFAULT_SYMBOLS
START_NS = 1732470000_123456789
STEP = Decimal("0.05")

names = st.text(
    st.characters(exclude_characters=' \t,"\\', exclude_categories=("Cc", "Cs", "Z")),
    min_size=1,
    max_size=32,
)


def moments(count: int, start_ns: int = START_NS, gap_ns: int = 1_000_000) -> market.Ints:
    return start_ns + np.arange(count, dtype=np.int64) * gap_ns


def parse(document: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = msgspec.json.Decoder(float_hook=Decimal).decode(document + b"}")
    return parsed


def ticks(simulated: Market, due_unix_ns: market.Ints) -> list[dict[str, Any]]:
    blob, width, ids = simulated.documents(due_unix_ns)
    assert len(blob) == width * len(ids) == width * len(due_unix_ns)
    return [parse(blob[i : i + width]) for i in range(0, len(blob), width)]


def mids(simulated: Market, count: int, block: int = 8192) -> tuple[market.Ints, market.Floats]:
    """Symbol index and middle of bid and ask of `count` ticks."""
    ids: list[int] = []
    middle: list[float] = []
    while len(ids) < count:
        blob, width, block_ids = simulated.documents(moments(block))
        ids += block_ids.tolist()
        rows = np.frombuffer(blob, dtype=f"S{width}")
        bid_at = blob.index(b'"bid":') + 6
        ask_at = blob.index(b'"ask":') + 6
        middle += [(float(row[bid_at:][:10]) + float(row[ask_at:][:10])) / 2 for row in rows]
    return np.array(ids[:count]), np.array(middle[:count])


def test_a_document_is_laid_out_as_the_message_description_says() -> None:
    blob, width, _ = Market(("NIFTY",), 1000, 1).documents(moments(1))
    assert len(blob) == width
    shape = "".join("9" if chr(byte).isdigit() else chr(byte) for byte in blob)
    # the first price is 22,000 within some steps, sizes have 2 to 4 digits
    assert shape[:64] == '{"timestamp":9999999999.999999,"symbol":"NIFTY","price":  99999.'
    for member, chars in (("price", 10), ("bid", 10), ("ask", 10)):
        at = blob.index(f'"{member}":'.encode()) + len(member) + 3
        assert blob[at + chars : at + chars + 1] == b","
        assert blob[at : at + chars] == b"%10.2f" % float(blob[at : at + chars])
    for member in ("volume", "bid_size", "ask_size"):
        at = blob.index(f'"{member}":'.encode()) + len(member) + 3
        assert blob[at : at + 7] == b"%7d" % int(blob[at : at + 7])
        assert blob[at + 7 : at + 8] in {b",", b""}


@settings(max_examples=60, deadline=None)
@given(
    symbols=st.lists(names, min_size=1, max_size=12, unique=True).map(tuple),
    rate_hz=st.integers(1, config.MAX_RATE_HZ),
    seed=st.integers(0, 2**63),
    counts=st.lists(st.integers(1, 300), min_size=1, max_size=3),
)
def test_every_document_is_valid_json_that_keeps_the_markets_rules(
    symbols: tuple[str, ...], rate_hz: int, seed: int, counts: list[int]
) -> None:
    simulated = Market(symbols, rate_hz, seed)
    lots = {symbol: instrument_of(symbol).lot for symbol in symbols}
    for count in counts:
        due = moments(count)
        for tick, due_ns in zip(ticks(simulated, due), due.tolist(), strict=True):
            assert tuple(tick) == COLUMNS
            assert int(tick["timestamp"] * 1_000_000) == due_ns // 1000
            assert tick["bid"] < tick["ask"] <= tick["bid"] + 4 * STEP
            assert tick["price"] in {tick["bid"], tick["ask"]}
            assert tick["bid"] >= STEP
            assert tick["ask"] <= Decimal("9999999.95")
            for member in ("price", "bid", "ask"):
                assert tick[member] % STEP == 0
            for member in ("volume", "bid_size", "ask_size"):
                assert isinstance(tick[member], int)
                assert tick[member] >= lots[tick["symbol"]]
                assert tick[member] % lots[tick["symbol"]] == 0


def test_symbols_of_documents_are_those_of_the_indices_even_outside_ascii() -> None:
    symbols = ("A", "株式会社", "ÜBER", "M&M")
    simulated = Market(symbols, 1000, 5)
    blob, width, ids = simulated.documents(moments(500))
    assert ids.dtype == np.int64
    for i, symbol_id in enumerate(ids.tolist()):
        assert parse(blob[i * width : (i + 1) * width])["symbol"] == symbols[symbol_id]


@pytest.mark.parametrize(
    ("due_ns", "text"),
    [
        (1_000_000_000 * NS_PER_S, b"1000000000.000000"),
        (1732470000_000000999, b"1732470000.000000"),
        (1732470000_999999999, b"1732470000.999999"),
        (1732400009_000010001, b"1732400009.000010"),
        (2**63 - 1, b"9223372036.854775"),
    ],
)
def test_a_timestamp_is_cut_to_microseconds_and_keeps_its_zeros(due_ns: int, text: bytes) -> None:
    blob, _, _ = Market(("TCS",), 1, 1).documents(np.array([due_ns]))
    assert blob[13:30] == text


def test_a_wall_clock_before_2001_is_refused_as_it_would_break_the_width() -> None:
    with pytest.raises(LatbenchError, match="reads 999999999 s since 1970"):
        Market(("TCS",), 1, 1).documents(np.array([10**18 - 1]))


def test_the_same_calls_give_the_same_bytes_and_another_seed_gives_others() -> None:
    def first_blocks(seed: int) -> list[bytes]:
        simulated = Market(SYMBOLS, 1000, seed)
        return [simulated.documents(moments(count))[0] for count in (1, 700, 0, 64)]

    assert first_blocks(7) == first_blocks(7)
    assert first_blocks(7) != first_blocks(8)


def test_a_block_that_was_handed_out_stays_as_it_is() -> None:
    simulated = Market(SYMBOLS, 1000, 1)
    blob, _, _ = simulated.documents(moments(100))
    kept = bytearray(blob)
    simulated.documents(moments(100))
    assert blob == kept


def test_no_moments_give_no_documents() -> None:
    blob, width, ids = Market(SYMBOLS, 1000, 1).documents(moments(0))
    assert (blob, len(ids)) == (b"", 0)
    assert width > 0


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_the_first_ticks_are_one_of_every_symbol(block: int) -> None:
    symbols = tuple(f"S{i}" for i in range(400))
    simulated = Market(symbols, 1000, 3)
    ids: list[int] = []
    while len(ids) < 400:
        ids += simulated.documents(moments(block))[2].tolist()
    assert sorted(ids[:400]) == list(range(400))


def test_symbols_listed_earlier_tick_more_often() -> None:
    ids = Market(SYMBOLS, 1000, 2).documents(moments(20_000))[2]
    shares = np.bincount(ids) / len(ids)
    assert shares == pytest.approx(np.array([12, 6, 4, 3]) / 25, abs=0.02)


def test_the_path_goes_on_from_block_to_block() -> None:
    ids, middle = mids(Market(SYMBOLS, 1000, 4), 6000, block=50)
    for symbol_id in range(len(SYMBOLS)):
        path = middle[ids == symbol_id]
        # the largest step is far below what a restart or a lost block would give
        assert np.abs(np.diff(np.log(path))).max() < 1e-3
    nifty = middle[ids == 0]
    assert nifty[0] == pytest.approx(22_000, rel=1e-3)
    assert len(set(nifty.tolist())) > 50


@pytest.fixture(scope="module")
def minutes() -> tuple[market.Ints, market.Floats]:
    """Each symbol's last middle price in each minute of a slow market, shape (minutes, symbols)."""
    rate_hz = 4
    ids, middle = mids(Market(SYMBOLS, rate_hz, 11), 240_000)
    per_minute = 60 * rate_hz
    count = len(ids) // per_minute
    last = np.empty((count, len(SYMBOLS)))
    for symbol_id in range(len(SYMBOLS)):
        at = np.flatnonzero(ids == symbol_id)
        last[:, symbol_id] = middle[
            at[np.searchsorted(at, np.arange(1, count + 1) * per_minute) - 1]
        ]
    return np.arange(count), last


def test_realised_volatility_is_near_that_of_the_table(
    minutes: tuple[market.Ints, market.Floats],
) -> None:
    returns = np.diff(np.log(minutes[1]), axis=0)
    realised = returns.std(axis=0) * math.sqrt(market.TRADING_YEAR_S / 60)
    expected = [instrument_of(symbol).volatility for symbol in SYMBOLS]
    assert realised == pytest.approx(expected, rel=0.12)


def test_symbols_move_together_as_much_as_the_model_says(
    minutes: tuple[market.Ints, market.Floats],
) -> None:
    correlations = np.corrcoef(np.diff(np.log(minutes[1]), axis=0).T)
    between = correlations[np.triu_indices(len(SYMBOLS), k=1)]
    assert between == pytest.approx(market.CORRELATION, abs=0.1)


def test_an_unknown_symbol_has_an_instrument_of_its_own_that_never_changes() -> None:
    # pinned: figures of runs made with different versions are of the same market
    assert instrument_of("WIPRO").start_cents == 381_90
    assert instrument_of("WIPRO").volatility == pytest.approx(0.2323871149)
    assert instrument_of("INFY") != instrument_of("WIPRO")


@given(names)
def test_an_unknown_symbols_instrument_is_within_its_bounds(name: str) -> None:
    made = instrument_of(name + "?")
    assert 50_00 <= made.start_cents <= 5_000_00
    assert made.start_cents % market.TICK_CENTS == 0
    assert 0.15 <= made.volatility <= 0.45


@pytest.mark.parametrize(
    ("log_price", "bid", "ask"),
    [(-50.0, "0.05", "0.25"), (50.0, "9999999.75", "9999999.95")],
)
def test_prices_stay_within_what_a_document_has_digits_for(
    log_price: float, bid: str, ask: str
) -> None:
    simulated = Market(SYMBOLS, 1000, 1)
    simulated._log_start[:] = log_price
    made = ticks(simulated, moments(200))
    assert min(tick["bid"] for tick in made) >= Decimal("0.05")
    assert max(tick["ask"] for tick in made) <= Decimal("9999999.95")
    assert any(tick["bid"] == Decimal(bid) or tick["ask"] == Decimal(ask) for tick in made)
    assert all(tick["bid"] < tick["ask"] for tick in made)
