"""How often `latbench history` sees a change that is none, and how soon one that is.

    python -m benchmarks.change_points

1,000 made-up series of 60 runs for each figure, seeds fixed: the tables of docs/history.md. Takes a
minute.
"""

from __future__ import annotations

import math

import numpy as np

from latbench.e_divisive import find_change_points
from tests.noise import NOISES, normal

SERIES = 1000
RUNS = 60
SEED = 20140114
NOISE_LEVELS = (0.03, 0.05, 0.10, 0.20)
STEPS = (0.05, 0.07, 0.10, 0.15, 0.25, 0.50)
AFTER = (5, 6, 7, 8, 10, 15, 30)


def false_alarms() -> None:
    print("| noise | " + " | ".join(f"{level:.0%}" for level in NOISE_LEVELS) + " |")
    print("| --- |" + " --- |" * len(NOISE_LEVELS))
    for name, make in NOISES.items():
        cells = []
        for level in NOISE_LEVELS:
            rng = np.random.default_rng(SEED)
            found = sum(bool(find_change_points(make(rng, RUNS, level))) for _ in range(SERIES))
            cells.append(f"{found / SERIES * 100:.1f} %")
        print(f"| {name} | " + " | ".join(cells) + " |")


def power(noise: float) -> None:
    """Steps found within two runs of where they are, by how many runs came after."""
    print(f"\nnoise {noise:.0%}: found within 2 runs, by runs after the step")
    print("| step | " + " | ".join(map(str, AFTER)) + " | right place |")
    print("| --- |" + " --- |" * (len(AFTER) + 1))
    for step in STEPS:
        cells = []
        distances: list[int] = []
        for after in AFTER:
            rng = np.random.default_rng(SEED)
            hits = 0
            for _ in range(SERIES):
                values = normal(rng, RUNS, noise)
                values[RUNS - after :] += math.log1p(step)
                near = [abs(each.index - (RUNS - after)) for each in find_change_points(values)]
                hits += min(near, default=RUNS) <= 2
                distances += [min(near)] if near and after >= 10 else []
            cells.append(f"{hits / SERIES * 100:.0f} %")
        exact = sum(distance == 0 for distance in distances) / max(len(distances), 1)
        print(f"| +{step * 100:.0f} % | " + " | ".join(cells) + f" | {exact:.0%} |")


if __name__ == "__main__":
    false_alarms()
    for level in NOISE_LEVELS[:3]:
        power(level)
