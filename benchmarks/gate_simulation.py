"""How often `latbench ab` cries wolf, and what it finds: synthetic sessions, its own decisions.

A run's statistic is exp of: its true value, a drift that neighbouring runs share (AR(1)), its own
heavy-tailed noise (Student's t with 2.5 degrees of freedom), and now and then a stall that
multiplies it. p50 and p99 of a run share half of their noise; p99's is three times as wide.

    python benchmarks/gate_simulation.py --sessions 10000
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from latbench.ab_result import MOST_PAIRS, PAIRS, Side, order_of_pairs
from latbench.comparison import Verdict, overall
from latbench.deciding import ALPHA, Pairs, decide
from latbench.gates import DEFAULT_GATES

LOOKS = (PAIRS, MOST_PAIRS)
TRUE_NS = {"p50": 1.2e6, "p99": 5e6}
WIDTH = {"p50": 1.0, "p99": 3.0}


@dataclass(frozen=True)
class Noise:
    """How runs scatter; as shares of their value."""

    name: str
    own: float
    """Scale of a run's own noise in its p50."""
    shared: float
    """Standard deviation of what neighbouring runs share."""
    memory: float
    """Correlation of that from one run to the next."""
    stalls: float
    """Probability of a stall in a run."""
    factor: float = 3.0
    """What a stall multiplies p99 by, on average; p50 by its cube root."""


NOISES = (
    Noise("quiet", 0.02, 0.03, 0.5, 0.01),
    Noise("shared machine", 0.05, 0.10, 0.8, 0.05),
    Noise("bad day", 0.10, 0.40, 0.95, 0.20),
)


class Synthetic:
    """Stands for `deciding.Sides`: the values by statistic."""

    def __init__(self, base: dict[str, np.ndarray], new: dict[str, np.ndarray], pairs: int) -> None:
        self._base, self._new, self._pairs = base, new, pairs

    def samples(self, hop: str, statistic: str) -> Pairs:
        del hop
        return Pairs(self._base[statistic][: self._pairs], self._new[statistic][: self._pairs])


def session(
    noise: Noise, effect: float, rng: np.random.Generator, seed: int
) -> tuple[Verdict, int]:
    """The verdict of one session whose B is `effect` (0.25: 25 %) slower, and its pairs."""
    runs = 2 * MOST_PAIRS
    drift = np.empty(runs)
    drift[0] = rng.normal()
    innovations = rng.normal(size=runs) * math.sqrt(1 - noise.memory**2)
    for number in range(1, runs):
        drift[number] = noise.memory * drift[number - 1] + innovations[number]
    common = rng.standard_t(2.5, size=runs)
    stalled = rng.random(runs) < noise.stalls
    stall = np.where(stalled, rng.exponential(math.log(noise.factor), size=runs), 0.0)
    values: dict[str, np.ndarray] = {}
    for name, true_ns in TRUE_NS.items():
        own = (common + rng.standard_t(2.5, size=runs)) / math.sqrt(2) * noise.own
        logs = WIDTH[name] * (own + noise.shared * drift) + stall / (3 if name == "p50" else 1)
        values[name] = true_ns * np.exp(logs)
    order = order_of_pairs(seed)
    first = np.array([next(order)[0] is Side.A for _ in range(MOST_PAIRS)])
    base, new = {}, {}
    for name, logs in values.items():
        one, other = logs[0::2], logs[1::2]
        base[name] = np.where(first, one, other)
        new[name] = np.where(first, other, one) * (1 + effect)
    for pairs in LOOKS:
        verdict = overall(
            decide(DEFAULT_GATES, Synthetic(base, new, pairs), ALPHA / len(LOOKS))  # type: ignore[arg-type]
        )
        if verdict is not Verdict.INCONCLUSIVE:
            break
    return verdict, pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="append the figures to this file, as JSON")
    arguments = parser.parse_args()
    # at 5 % p50's gate is at its very margin (p99's at half of its own): the hardest case that
    # must not be called a regression
    for noise in NOISES:
        print(f"\n{noise.name}: {asdict(noise)}")
        print(f"{'B slower by':>12} {'regression':>11} {'pass':>8} {'undecided':>10} {'pairs':>6}")
        for effect in (0.0, 0.05, 0.10, 0.25):
            rng = np.random.default_rng([arguments.seed, round(effect * 1000)])
            told: Counter[Verdict] = Counter()
            pairs = 0
            for number in range(arguments.sessions):
                verdict, used = session(noise, effect, rng, number)
                told[verdict] += 1
                pairs += used
            shares = {str(verdict): told[verdict] / arguments.sessions for verdict in Verdict}
            print(
                f"{effect:>12.0%} {shares['regression']:>11.2%} {shares['pass']:>8.1%} "
                f"{shares['inconclusive']:>10.1%} {pairs / arguments.sessions:>6.1f}",
                flush=True,
            )
            if arguments.record:
                with arguments.record.open("a") as file:
                    row = {"noise": noise.name, "effect": effect, "sessions": arguments.sessions}
                    file.write(json.dumps({**row, **shares}) + "\n")


if __name__ == "__main__":
    main()
