"""Fixtures that every room may use."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.fakes.card.session import virtual_card  # noqa: F401  # a fixture

# Rooms whose tests live in real time, with a sound card, a daemon or a booted system: they share the machine with no
# other test. The rest runs on all cores.
ALONE = ("audio", "booted", "device", "diagnosis", "fakes", "faults", "privacy", "scenarios", "soak", "test_daemon.py")
HERE = Path(__file__).parent

# A shell's background jobs ignore SIGINT, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what has to run alone."""
    for item in items:
        if item.path.relative_to(HERE).parts[0] in ALONE:
            item.add_marker("alone")
