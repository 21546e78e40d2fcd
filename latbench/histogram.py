"""HDR histograms filled in bulk: the same counts as HdrHistogram's own, 200 times as fast.

`hdrh.record_value` is pure Python (1.0 to 1.6 µs a value) and drops what it can't hold without a
word. Here a whole array is counted at once (4 to 6 ns a value) straight into `hdrh`'s counters,
values out of range are counted apart, and count, sum, extremes and sum of squares are kept exactly.
"""

from __future__ import annotations

import fractions
import math
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from hdrh.codec import (
    HdrCookieException,
    HdrHistogramSettingsException,
    HdrLengthException,
)
from hdrh.histogram import HdrHistogram

LOWEST_NS: Final = 1
HIGHEST_NS: Final = 24 * 3600 * 1_000_000_000
SIGNIFICANT_DIGITS: Final = 3
"""Every value is kept to within 0.1 %, from 1 ns to 24 h, in 300 kB."""

PERCENTILES: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)
MIN_SAMPLES_BEYOND: Final = 100
"""A percentile with fewer samples above it is a guess (its relative standard error passes 10 %)."""

Values = npt.NDArray[np.int64]

_DECODING_ERRORS: Final = (
    HdrCookieException,
    HdrHistogramSettingsException,
    HdrLengthException,
    ValueError,
    RuntimeError,
    TypeError,
    IndexError,
    OverflowError,
    zlib.error,
)
"""What `hdrh` raises for what is no histogram; it lets its libraries' through."""

_template = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS, b64_wrap=True)
_HALF_MAGNITUDE: Final[int] = _template.sub_bucket_half_count_magnitude
COUNTERS: Final[int] = _template.counts_len
"""How many counters a histogram has."""
BUCKETS: Final[int] = _template.bucket_count
SUB_BUCKETS: Final[int] = _template.sub_bucket_count
"""Its layout, as HdrHistogram's tools tell it."""


_MANTISSA_BITS: Final = 52
_EXPONENT_BIAS: Final = 1023
_COUNTERS_BELOW: Final = (_EXPONENT_BIAS + _HALF_MAGNITUDE - 1) << _HALF_MAGNITUDE
_LINEAR: Final = 1 << _HALF_MAGNITUDE
"""Below it a value is its own counter's number."""


def bucket_indices(values: Values) -> npt.NDArray[np.int64]:
    """The counter of each value, as `HdrHistogram` numbers them; values from 0 to `HIGHEST_NS`.

    A float64 is a histogram's counter already: of its bits, the exponent is the magnitude and the
    first ten of the mantissa are the place in it (IEEE 754, binary64; exact, for the values lie
    below 2^53). So the counters are those bits less a constant: 1 ns a value, and 13 ns for
    `bucket_indices_plainly`. Values below 1024 come out too small there, never above themselves.
    """
    indices = values.astype(np.float64).view(np.int64)
    indices >>= _MANTISSA_BITS - _HALF_MAGNITUDE
    indices -= _COUNTERS_BELOW
    if values.size and values.min() < _LINEAR:
        np.maximum(indices, np.minimum(values, _LINEAR), out=indices)
    return indices


def bucket_indices_plainly(values: Values) -> npt.NDArray[np.int64]:
    """The plain twin of `bucket_indices`: by the bit length of each value."""
    _, bits = np.frexp(values.astype(np.float64))
    shift = np.maximum(bits.astype(np.int64) - (_HALF_MAGNITUDE + 1), 0)
    return (shift << _HALF_MAGNITUDE) + (values >> shift)


_LOW_BITS: Final = 24
_DOT_VALUES: Final = 1 << 15


def sum_of_squares(values: Values, high: int) -> int:
    """Exactly, of values from 0 to `high` ≤ `HIGHEST_NS`.

    In integers: 1 ns a value as long as no sum can pass 2^63 (65,536 values up to 11 ms), else
    from halves of each value. A product of floats is no faster: OpenBLAS spreads it over threads
    that spin, which took a third of a run's end beside the thread that writes the file.
    """
    if high * high * values.size < 1 << 63:
        return int(values @ values)
    total = 0
    for begin in range(0, values.size, _DOT_VALUES):
        upper, lower = np.divmod(values[begin : begin + _DOT_VALUES], 1 << _LOW_BITS)
        total += int(upper @ upper) << 2 * _LOW_BITS
        total += int(upper @ lower) << _LOW_BITS + 1
        total += int(lower @ lower)
    return total


def highest_equivalent(index: int) -> int:
    """The largest value that falls into the counter `index`."""
    shift = max((index >> _HALF_MAGNITUDE) - 1, 0)
    return ((index - (shift << _HALF_MAGNITUDE) + 1) << shift) - 1


def lowest_equivalents(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The smallest value of each of many counters."""
    shifts = np.maximum((indices >> _HALF_MAGNITUDE) - 1, 0)
    lowest: npt.NDArray[np.int64] = (indices - (shifts << _HALF_MAGNITUDE)) << shifts
    return lowest


def highest_equivalents(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The largest value of each of many counters."""
    shifts = np.maximum((indices >> _HALF_MAGNITUDE) - 1, 0)
    highest: npt.NDArray[np.int64] = ((indices - (shifts << _HALF_MAGNITUDE) + 1) << shifts) - 1
    return highest


class Histogram:
    """Latencies of one hop, in nanoseconds; histograms add (`add`), percentiles never do."""

    __slots__ = (
        "_hdr",
        "count",
        "counts",
        "max_ns",
        "min_ns",
        "negative",
        "out_of_range",
        "sum_ns",
        "sum_of_squares",
    )

    def __init__(self) -> None:
        self._hdr = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS, b64_wrap=True)
        self.counts: npt.NDArray[np.uint64] = np.frombuffer(self._hdr.counts, dtype=np.uint64)
        self.count = 0
        self.min_ns = 0
        self.max_ns = 0
        self.sum_ns = 0
        self.sum_of_squares = 0
        self.negative = 0
        self.out_of_range = 0

    def record(self, values: Values) -> None:
        """Count an int64 array of nanoseconds; negative and too large ones are counted apart."""
        if not values.size:
            return
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > HIGHEST_NS:
            self.negative += int(np.count_nonzero(values < 0))
            self.out_of_range += int(np.count_nonzero(values > HIGHEST_NS))
            self.record(values[(values >= 0) & (values <= HIGHEST_NS)])
            return
        indices = bucket_indices(values)
        if values.size < 2048:  # a scatter beats a pass over all 38,912 counters
            np.add.at(self.counts, indices, 1)
        else:
            self.counts += np.bincount(indices, minlength=COUNTERS).view(np.uint64)
        self.min_ns = low if not self.count else min(self.min_ns, low)
        self.max_ns = max(self.max_ns, high)
        self.count += values.size
        self.sum_ns += int(values.sum())
        self.sum_of_squares += sum_of_squares(values, high)

    def add(self, other: Histogram) -> None:
        """Add another's samples: what merging means for percentiles."""
        if other.count:
            self.counts += other.counts
            self.min_ns = other.min_ns if not self.count else min(self.min_ns, other.min_ns)
            self.max_ns = max(self.max_ns, other.max_ns)
        self.count += other.count
        self.sum_ns += other.sum_ns
        self.sum_of_squares += other.sum_of_squares
        self.negative += other.negative
        self.out_of_range += other.out_of_range

    def clear(self) -> None:
        """Forget all samples (for interval histograms; a run's own are never cleared)."""
        self.counts[:] = 0
        self.count = self.min_ns = self.max_ns = self.sum_ns = 0
        self.negative = self.out_of_range = 0
        self.sum_of_squares = 0

    @property
    def mean_ns(self) -> float:
        """The exact mean, 0 without samples."""
        return self.sum_ns / self.count if self.count else 0.0

    @property
    def stdev_ns(self) -> float:
        """The exact standard deviation of the samples (divisor n), 0 without samples."""
        if not self.count:
            return 0.0
        return math.sqrt(self.count * self.sum_of_squares - self.sum_ns**2) / self.count

    def percentiles(self, percents: Sequence[float] = PERCENTILES) -> list[int | None]:
        """Nanoseconds at each percent, or None where fewer than 100 samples lie above it.

        The value is the highest of the counter that holds the sample of rank ⌈p·n⌉ (as in
        HdrHistogram), but never above the exact maximum.
        """
        cumulated = np.cumsum(self.counts)
        out: list[int | None] = []
        for percent in percents:
            rank = max(math.ceil(round(percent * self.count / 100, 6)), 1)
            if self.count - rank < MIN_SAMPLES_BEYOND:
                out.append(None)
            else:
                index = int(np.searchsorted(cumulated, rank))
                out.append(min(highest_equivalent(index), self.max_ns))
        return out

    def value_at(self, percent: float) -> int:
        """Nanoseconds at one percent however few the samples: to draw with, not to quote."""
        if not self.count:
            return 0
        rank = max(math.ceil(round(percent * self.count / 100, 6)), 1)
        index = int(np.searchsorted(np.cumsum(self.counts), rank))
        return min(highest_equivalent(index), self.max_ns)

    def encode(self) -> str:
        """The counters as HdrHistogram V2, compressed, base64: any HdrHistogram reads it."""
        self._hdr.total_count = self.count
        self._hdr.min_value = self.min_ns if self.count else HIGHEST_NS
        self._hdr.max_value = self.max_ns
        encoded: bytes = self._hdr.encode()
        return encoded.decode()

    @classmethod
    def decode(
        cls,
        encoded: str,
        *,
        min_ns: int,
        max_ns: int,
        mean_ns: float,
        stdev_ns: float,
        negative: int = 0,
        out_of_range: int = 0,
    ) -> Histogram:
        """What `encode` gave, with the figures kept beside it, which counters alone don't tell.

        All are those of the histogram that was encoded. The sum is that one's exactly as long as it
        is below 2^52 (52 days of latency), the sum of squares as near as the two floats tell.
        Raises `ValueError` for what is no histogram of this range and precision.
        """
        try:
            decoded = HdrHistogram.decode(encoded.encode())
        except _DECODING_ERRORS as error:
            raise ValueError(f"no encoded histogram: {error}") from None
        if decoded is None or decoded.counts_len != COUNTERS:
            raise ValueError("a histogram of another range or precision")
        histogram = cls()
        histogram.counts[:] = np.frombuffer(decoded.counts, dtype=np.uint64)
        histogram.count = int(histogram.counts.sum())
        histogram.min_ns, histogram.max_ns = min_ns, max_ns
        mean, count = fractions.Fraction(mean_ns), histogram.count
        histogram.sum_ns = round(mean * count)
        if count:
            exact_mean = fractions.Fraction(histogram.sum_ns, count)
            square = fractions.Fraction(stdev_ns) ** 2 + exact_mean**2
            # rounded up: rounded down, equal samples would have a deviation of an imaginary number
            histogram.sum_of_squares = math.ceil(square * count)
        histogram.negative, histogram.out_of_range = negative, out_of_range
        return histogram

    @classmethod
    def decode_counts(cls, encoded: str) -> npt.NDArray[np.uint64]:
        """The counters of an encoded histogram (a copy)."""
        decoded = HdrHistogram.decode(encoded.encode())
        return np.frombuffer(decoded.counts, dtype=np.uint64).copy()
