"""What the daemon's process loads: each of these costs tens of milliseconds and megabytes on a small board."""

from __future__ import annotations

import subprocess
import sys

from tests.scenarios.home import ROOT

NEVER = {
    "fastapi",
    "httpx",
    "httpx2",
    "joserfc",
    "onnxruntime",
    "openai",
    "pydantic",
    "pytest",
    "sqlalchemy",
    "starlette",
    "typing_extensions",
    "uvicorn",
}
LATER = {"gpiozero", "h11", "cryptography"}  # needed by some, or when the daemon is ready


PROGRAM = """
import sys
from appliance import cli
sys.argv = ["voice-appliance", "run", "--config", "/nonexistent"]
assert cli.main() == 78  # the configuration is read when the daemon is imported, and not before
print(*(name for name, module in sys.modules.items() if module is not None))
"""


def test_the_daemon_loads_what_it_needs_and_nothing_of_the_services() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"appliance", "numpy", "websockets"} <= loaded
    assert not loaded & NEVER
    assert not loaded & LATER
    assert not {name for name in done.stdout.split() if name.startswith(("appliance.provisioning", "appliance.local"))}
