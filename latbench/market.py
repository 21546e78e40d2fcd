"""A simulated market: prices that move together, written as JSON ticks a whole block at a time.

Prices follow correlated geometric Brownian motions with one common factor. With M and B_s
independent Brownian motions, σ_s a symbol's annual volatility and ρ `CORRELATION`::

    log S_s(t) = log S_s(0) + σ_s (√ρ M(t) + √(1-ρ) B_s(t)) - σ_s² t / 2

Each tick, of whatever symbol, takes the market 1 / rate_hz of a trading second further. M moves at
every tick; B_s moves at the symbol's own ticks, by the time since its last one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import statistics
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from latbench.clock import NS_PER_S, NS_PER_US
from latbench.errors import LatbenchError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

TRADING_YEAR_S: Final = 252 * 6.25 * 3600
"""252 sessions of 6 h 15 min, those of India's exchanges."""

CORRELATION: Final = 0.5
"""ρ: between any two symbols' log returns."""

TICK_CENTS: Final = 5
"""The price step of every symbol: 0.05."""

MAX_PRICE_CENTS: Final = 999_999_995
"""9,999,999.95: the most that a document has digits for."""

_MAX_PRICE_TICKS: Final = MAX_PRICE_CENTS // TICK_CENTS
_MAX_LOTS: Final = 9_999
_MEDIAN_LOTS: Final = 4.0
_SPREADS: Final = np.array([1] * 8 + [2] * 4 + [3] * 2 + [4] * 2, dtype=np.int32)
"""Spreads in price steps, each as often as it occurs in 16 ticks."""

_LIQUIDITY_SLOTS: Final = 65_536
_PRICES: Final = ("price", "bid", "ask")
_SIZES: Final = ("volume", "bid_size", "ask_size")


@dataclasses.dataclass(frozen=True, slots=True)
class Instrument:
    """What a symbol's path starts from and how much it moves."""

    start_cents: int
    volatility: float
    """Annual, of log returns."""
    lot: int
    """Sizes are whole multiples of it."""


_KNOWN: Final = {
    "NIFTY": Instrument(22_000_00, 0.13, 75),
    "BANKNIFTY": Instrument(48_000_00, 0.17, 30),
    "RELIANCE": Instrument(2_900_00, 0.24, 500),
    "TCS": Instrument(3_900_00, 0.22, 175),
}


def instrument_of(symbol: str) -> Instrument:
    """The instrument of a symbol; of one unknown, drawn from its name, always the same.

    Those start between 50 and 5,000 with a volatility between 0.15 and 0.45.
    """
    if symbol in _KNOWN:
        return _KNOWN[symbol]
    digest = hashlib.blake2b(symbol.encode(), digest_size=8).digest()
    level = int.from_bytes(digest[:4], "big") / 2**32
    motion = int.from_bytes(digest[4:], "big") / 2**32
    start_cents = round(50_00 * 100**level / TICK_CENTS) * TICK_CENTS
    return Instrument(start_cents, 0.15 + 0.30 * motion, 100)


class Market:
    """The ticks of some symbols from one moment on, block after block.

    The same symbols, rate, seed and block sizes give the same prices. The first ticks are one of
    every symbol; from then on symbols listed earlier tick more often, the k-th 1/k as often as the
    first.
    """

    def __init__(self, symbols: tuple[str, ...], rate_hz: int, seed: int) -> None:
        # streams 1 to 3 of a seed are the schedules'
        self._rng = np.random.default_rng([seed, 4])
        instruments = [instrument_of(symbol) for symbol in symbols]
        self._lot = np.array([each.lot for each in instruments], dtype=np.int32)
        self._log_start = np.log([each.start_cents / TICK_CENTS for each in instruments])
        sigma = np.array([each.volatility for each in instruments])
        step_years = 1 / (rate_hz * TRADING_YEAR_S)
        self._drift = -(sigma**2) / 2 * step_years
        self._common_scale = sigma * math.sqrt(CORRELATION * step_years)
        self._own_scale = sigma * math.sqrt((1 - CORRELATION) * step_years)
        self._common = 0.0
        self._own = np.zeros(len(symbols))
        self._own_step = np.zeros(len(symbols), dtype=np.int64)
        self._step = 0
        self._unopened = self._rng.permutation(len(symbols))
        self._liquidity = _liquidity(len(symbols))
        self._layout = _Layout(symbols)

    def documents(self, due_unix_ns: Ints) -> tuple[bytes, int, Ints]:
        """The next ticks, one for each moment (int64 ns since 1970): documents, width, symbols.

        Document i is `blob[i * width : (i + 1) * width]`, a JSON object without its closing brace;
        the symbols are int64 indices into those of the market, of the same length as the moments.
        A tick of four symbols costs 0.22 µs in blocks of 8,192 and 0.46 µs in blocks of 1,024.
        """
        count = len(due_unix_ns)
        if count == 0:
            return b"", self._layout.width, np.empty(0, dtype=np.int64)
        rng = self._rng
        ids = self._choose(count)
        draw = rng.integers(0, 2 * len(_SPREADS), count, dtype=np.uint8)
        spread = _SPREADS.take(draw >> 1)
        bid = self._advance(ids) - (spread >> 1)
        bid = np.clip(bid, 1, _MAX_PRICE_TICKS - spread, out=bid)
        price = bid + spread * (draw & 1)
        sizes = _lots().take(rng.integers(0, len(_lots()), (3, count), dtype=np.uint16))
        sizes *= self._lot.take(ids)
        prices = np.stack((price, bid, bid + spread)) * np.int32(TICK_CENTS)
        return self._layout.write(due_unix_ns, ids, prices, sizes), self._layout.width, ids

    def _choose(self, count: int) -> Ints:
        """Which symbol ticks: indices, shape (count,)."""
        ids = self._liquidity.take(
            self._rng.integers(0, len(self._liquidity), count, dtype=np.uint32)
        )
        if len(self._unopened):
            opening = self._unopened[:count]
            ids[: len(opening)] = opening
            self._unopened = self._unopened[count:]
        return ids

    def _advance(self, ids: Ints) -> npt.NDArray[np.int32]:
        """Move the market on by a tick for each of `ids`; the fair prices in price steps."""
        count = len(ids)
        common_moves, own_moves = self._rng.standard_normal((2, count))
        step = np.arange(self._step + 1, self._step + 1 + count)
        common = np.cumsum(common_moves)
        common += self._common

        # symbol by symbol, each one's ticks in their order: 16-bit keys sort by radix
        keys = ids.astype(np.uint16) if len(self._own) <= 65_536 else ids
        order = np.argsort(keys, kind="stable")
        sorted_ids = ids.take(order)
        sorted_step = step.take(order)
        first = np.flatnonzero(np.diff(sorted_ids, prepend=-1))
        last = np.append(first[1:], count) - 1
        present = sorted_ids.take(first)
        elapsed = np.diff(sorted_step, prepend=0)
        elapsed[first] = sorted_step[first] - self._own_step[present]
        own_moves *= np.sqrt(elapsed)
        walk = np.cumsum(own_moves)
        walk += np.repeat(self._own[present] - walk[first] + own_moves[first], last - first + 1)
        own = np.empty(count)
        own[order] = walk

        self._common = float(common[-1])
        self._own[present] = walk[last]
        self._own_step[present] = sorted_step[last]
        self._step += count

        log_price = self._log_start.take(ids)
        log_price += self._common_scale.take(ids) * common
        log_price += self._own_scale.take(ids) * own
        log_price += self._drift.take(ids) * step
        # an int32 has no room for what a path of centuries might reach
        np.minimum(log_price, math.log(_MAX_PRICE_TICKS), out=log_price)
        return np.rint(np.exp(log_price)).astype(np.int32)


def _liquidity(symbols: int) -> Ints:
    """Symbols, each as often as it ticks, and at least once: drawing evenly gives the weights."""
    weights = 1 / np.arange(1, symbols + 1)
    slots = np.rint(weights / weights.sum() * _LIQUIDITY_SLOTS).astype(np.int64)
    return np.repeat(np.arange(symbols), np.maximum(slots, 1))


@functools.cache
def _lots() -> npt.NDArray[np.int32]:
    """Sizes in lots at evenly spaced quantiles of a log-normal distribution (σ = 1)."""
    normal = statistics.NormalDist()
    quantiles = [normal.inv_cdf((i + 0.5) / 4096) for i in range(4096)]
    return np.clip(np.rint(_MEDIAN_LOTS * np.exp(quantiles)), 1, _MAX_LOTS).astype(np.int32)


def _words(texts: list[bytes], dtype: str) -> npt.NDArray[np.unsignedinteger]:
    return np.frombuffer(b"".join(texts), dtype=dtype)


@dataclasses.dataclass(frozen=True, slots=True)
class _Digits:
    """Numbers as text, to be looked up: 2 or 4 characters in one unsigned integer each."""

    two: npt.NDArray[np.unsignedinteger]
    """00 to 99."""
    four: npt.NDArray[np.unsignedinteger]
    """0 to 9999 padded with blanks, then 0000 to 9999."""
    high: npt.NDArray[np.unsignedinteger]
    """A colon and what stands before the last four digits; blanks for 0."""
    cents: npt.NDArray[np.unsignedinteger]
    """.00 to .99 and a comma."""


@functools.cache
def _digits() -> _Digits:
    return _Digits(
        two=_words([b"%02d" % i for i in range(100)], "u2"),
        four=_words(
            [b"%4d" % i for i in range(10_000)] + [b"%04d" % i for i in range(10_000)], "u4"
        ),
        high=_words([b":   "] + [b":%3d" % i for i in range(1, 1000)], "u4"),
        cents=_words([b".%02d," % i for i in range(100)], "u4"),
    )


class _Layout:
    """Documents of one width for all symbols: a row of text a symbol and where its numbers go.

    The digits are looked up two or four at a time and stored into columns of the block as 16- and
    32-bit integers.
    """

    def __init__(self, symbols: tuple[str, ...]) -> None:
        names = [msgspec.json.encode(symbol) + b"," for symbol in symbols]
        longest = max(len(name) for name in names)
        head = b'{"timestamp":SSSSSSSSSS.uuuuuu,"symbol":'
        tail = (
            b'"price":       .  ,"volume":       ,"bid":       .  ,"ask":       .  ,'
            b'"bid_size":       ,"ask_size":       '
        )
        # JSON takes blanks between members, so a short symbol is followed by some
        rows = [head + name.ljust(longest) + tail for name in names]
        self.width = len(rows[0])
        self._rows = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, self.width)
        seconds = head.index(b"S")
        micros = head.index(b"u")
        places = {
            "s2": ("u2", seconds),
            "s6": ("u4", seconds + 2),
            "s10": ("u4", seconds + 6),
            "u2": ("u2", micros),
            "u6": ("u4", micros + 2),
        }
        for member in _PRICES + _SIZES:
            colon = len(head) + longest + tail.index(b'"%s":' % member.encode()) + len(member) + 2
            places[f"{member}_high"] = ("u4", colon)
            places[f"{member}_low"] = ("u4", colon + 4)
            places[f"{member}_cents"] = ("u4", colon + 8)
        for member in _SIZES:
            del places[f"{member}_cents"]
        self._dtype = np.dtype(
            {
                "names": list(places),
                "formats": [kind for kind, _ in places.values()],
                "offsets": [place for _, place in places.values()],
                "itemsize": self.width,
            }
        )
        self._block = np.empty((0, self.width), dtype=np.uint8)

    def write(
        self,
        due_unix_ns: Ints,
        ids: Ints,
        prices: npt.NDArray[np.int32],
        sizes: npt.NDArray[np.int32],
    ) -> bytes:
        """The documents end to end; prices in cents and sizes have shape (3, n)."""
        count = len(ids)
        if len(self._block) < count:
            self._block = np.empty((count, self.width), dtype=np.uint8)
        block = self._block[:count]
        # "clip" since "raise" would go through a buffer
        np.take(self._rows, ids, axis=0, out=block, mode="clip")
        fields = block.view(self._dtype)[:, 0]
        self._write_moments(fields, due_unix_ns)
        digits = _digits()
        whole = prices // np.int32(100)
        cents = digits.cents.take(prices - whole * np.int32(100))
        for i, member in enumerate(_PRICES):
            fields[f"{member}_cents"] = cents[i]
        for members, numbers in ((_PRICES, whole), (_SIZES, sizes)):
            high = numbers // np.int32(10_000)
            low = numbers - high * np.int32(10_000)
            low += (high > 0) * np.int32(10_000)
            high_text, low_text = digits.high.take(high), digits.four.take(low)
            for i, member in enumerate(members):
                fields[f"{member}_high"] = high_text[i]
                fields[f"{member}_low"] = low_text[i]
        return block.tobytes()

    def _write_moments(self, fields: npt.NDArray[np.void], due_unix_ns: Ints) -> None:
        seconds = due_unix_ns // NS_PER_S
        if int(seconds[0]) < 10**9:
            raise LatbenchError(
                f"the wall clock reads {int(seconds[0])} s since 1970, which is before 2001",
                "set the clock",
            )
        micros = ((due_unix_ns - seconds * NS_PER_S) // NS_PER_US).astype(np.int32)
        upper = seconds // 10_000
        digits = _digits()
        zero_padded = digits.four[10_000:]
        fields["s2"] = digits.two.take(upper // 10_000)
        fields["s6"] = zero_padded.take(upper % 10_000)
        fields["s10"] = zero_padded.take(seconds - upper * 10_000)
        micros_upper = micros // np.int32(10_000)
        fields["u2"] = digits.two.take(micros_upper)
        fields["u6"] = zero_padded.take(micros - micros_upper * np.int32(10_000))
