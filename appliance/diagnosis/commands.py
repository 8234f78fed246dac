"""The commands ``doctor`` and ``bundle``: what they print, and their exit codes."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from appliance import config
from appliance.diagnosis.bundle import make
from appliance.diagnosis.doctor import examine
from appliance.diagnosis.finding import Mark
from appliance.errors import EXIT_FAILURE

Arguments = argparse.Namespace


def doctor(arguments: Arguments) -> int:
    """Say line by line what is well and what is not, and what to do about it."""
    return asyncio.run(_examine(arguments.config or config.default_path()))


async def _examine(path: Path) -> int:
    troubles = 0
    async for finding in examine(path):
        print(finding, flush=True)
        troubles += finding.mark is Mark.TROUBLE
    print("all is well" if not troubles else f"{troubles} trouble(s): what to do is at the end of each line")
    return EXIT_FAILURE if troubles else 0


def bundle(arguments: Arguments) -> int:
    """Write a support bundle, and say what is in it."""
    names = make(arguments.file, arguments.config or config.default_path())
    print(f"{arguments.file}: {', '.join(names)}")
    print("no secrets, no sound, nothing that was said; have a look before you send it: tar -xJf")
    return 0


COMMANDS: dict[str, Callable[[Arguments], int]] = {"doctor": doctor, "bundle": bundle}
