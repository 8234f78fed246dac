"""The lines that are printed: ``name: value unit``, with the names of the contract.

Responsible for: percentiles, ratios, and saying on what all this ran.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

UNITS = {"ms": "ms", "s": "s", "mb": "MB", "min": "s/min"}


class Report:
    """Prints figures as they come and remembers them for the ratios."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    def line(self, name: str, value: float) -> None:
        """Print a figure; its unit is in its name."""
        self._values[name] = value
        unit = UNITS.get(name.rsplit("_", 1)[-1], "")
        say(f"{name}: {value:.2f} {unit}" if unit else f"{name}: {value:g}")

    def ratios(self) -> None:
        """Print ours over the minimal client's, for everything that both have; below 1 is better."""
        for name, value in list(self._values.items()):
            theirs = self._values.get(f"minimal_{name}")
            if theirs and value > 0 and theirs > 0:
                say(f"ratio_{name}: {value / theirs:.2f}")


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values: no turn could be measured")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def machine(repeats: str, load_before: float) -> str:
    """Say on what this ran and how often."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return (
        f"on {model} x {os.cpu_count()}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load {load_before:.2f} to {os.getloadavg()[0]:.2f}; {repeats}"
    )


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
