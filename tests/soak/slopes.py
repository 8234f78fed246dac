"""Does it grow? The slope of a series with its confidence, robust against steps and outliers.

Theil-Sen: the median of the slopes between all pairs (Theil 1950, Sen 1968); its interval by a moving-block bootstrap,
since what a process holds now is much like what it held a second ago (Künsch 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POINTS = 150  # a longer series is thinned to so many medians
RESAMPLES = 300
BLOCKS = 10
HOUR_S = 3600.0
Floats = NDArray[np.float64]
Numbers = Sequence[float] | Floats


@dataclass(frozen=True, slots=True)
class Slope:
    """Units an hour, with the 95 % interval."""

    per_h: float
    low: float
    high: float

    @property
    def grows(self) -> bool:
        """Say whether it is sure to grow."""
        return self.low > 0


def slope(times_s: Numbers, values: Numbers, lives: Sequence[int], seed: int = 1) -> Slope:
    """Fit a series; pairs are made within one ``life`` of the process only, since a restart begins anew.

    Raises:
        ValueError: fewer than three points.
    """
    if len(times_s) < 3:
        raise ValueError(f"{len(times_s)} points have no slope")
    t, y, life = _thinned(np.asarray(times_s, float), np.asarray(values, float), np.asarray(lives))
    rng = np.random.default_rng(seed)
    block = max(1, len(t) // BLOCKS)
    found = []
    for _ in range(RESAMPLES):
        starts = rng.integers(0, len(t) - block + 1, -(-len(t) // block))
        chosen = (starts[:, None] + np.arange(block)).ravel()
        found.append(_theil_sen(t[chosen], y[chosen], life[chosen]))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return Slope(_theil_sen(t, y, life) * HOUR_S, float(low) * HOUR_S, float(high) * HOUR_S)


def _theil_sen(t: Floats, y: Floats, life: NDArray[np.int64]) -> float:
    one, other = np.triu_indices(len(t), 1)
    usable = (life[one] == life[other]) & (t[one] != t[other])
    one, other = one[usable], other[usable]
    return float(np.median((y[other] - y[one]) / (t[other] - t[one]))) if len(one) else float("nan")


def _thinned(t: Floats, y: Floats, life: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    width = -(-len(t) // POINTS)
    if width == 1:
        return t, y, life
    groups = [part for number in np.unique(life) for part in _chunks(np.flatnonzero(life == number), width)]
    medians = [(float(np.median(t[g])), float(np.median(y[g])), int(life[g[0]])) for g in groups]
    return np.array([m[0] for m in medians]), np.array([m[1] for m in medians]), np.array([m[2] for m in medians])


def _chunks(indices: NDArray[np.int64], width: int) -> list[NDArray[np.int64]]:
    return [indices[at : at + width] for at in range(0, len(indices), width)]
