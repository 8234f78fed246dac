"""The daemon as ``voice-appliance run`` starts it, and beside it a task that writes down how much it holds.

Run ``python -m tests.soak.observed CONFIG GAUGES``. Responsible for: one line of JSON every two seconds. Not for: what
can be seen from outside (``gauges``). No part of the product, and nothing of the product knows of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from appliance import config as configuration
from appliance import logs
from appliance.daemon import Daemon
from appliance.system import memory
from tests.soak.sizes import sizes

EVERY_S = 2.0


async def observe(daemon: Daemon, out: TextIO) -> None:
    """Write until cancelled."""
    loop = asyncio.get_running_loop()
    await daemon.started.wait()
    while True:
        gauges = {
            "at": time.monotonic(),
            "tasks": len(asyncio.all_tasks()) - 1,
            "timers": len(loop._scheduled),  # type: ignore[attr-defined]  # asyncio's own, for want of a better
            "sizes": sizes(daemon),
        }
        out.write(json.dumps(gauges) + "\n")
        out.flush()
        await asyncio.sleep(EVERY_S)


async def live(daemon: Daemon, out: TextIO) -> None:
    """Run the daemon to its end."""
    observer = asyncio.create_task(observe(daemon, out))
    try:
        await daemon.run()
    finally:
        observer.cancel()


def main() -> None:
    logs.set_up(debug=False, quiet=False)
    memory.be_frugal()
    daemon = Daemon(configuration.load(Path(sys.argv[1])))
    with Path(sys.argv[2]).open("a") as out:
        out.write(json.dumps({"born": time.monotonic()}) + "\n")
        out.flush()
        asyncio.run(live(daemon, out))
    if daemon.starts_afresh:  # as ``daemon.run`` does, but observed again
        os.execv(sys.executable, [sys.executable, "-m", "tests.soak.observed", *sys.argv[1:]])


if __name__ == "__main__":
    main()
