"""The appliance at a terminal: space bar, live line, transcript, quit."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.fakes.card.session import CardFactory
from tests.fakes.realtime_server import Script
from tests.scenarios.home import ROOT, Town, tone


def test_space_bar_talks_m_mutes_q_quits(town: Town, tmp_path: Path, virtual_card: CardFactory) -> None:
    town.server.begin(Script(reply=tone(0.4, 24_000).tobytes(), words="It is noon."))
    (tmp_path / "token").write_text(town.provisioning.token)
    config = tmp_path / "a.toml"
    config.write_text(f"""
[conversation]
end_of_turn_ms = 400
follow_up_s = 0
[provisioning]
url = "{town.provisioning.url}"
enrolment_token_file = "{tmp_path / "token"}"
[panel]
backend = "terminal"
[control]
socket = "{tmp_path / "c.sock"}"
[state]
directory = "{tmp_path / "state"}"
""")
    keyboard, terminal = pty.openpty()
    seen = bytearray()

    def watch() -> None:
        while True:
            try:
                seen.extend(os.read(keyboard, 4096))
            except OSError:
                return

    def wait(pattern: str) -> None:
        deadline = time.monotonic() + 20
        while not re.search(pattern, seen.decode(errors="replace")):
            assert time.monotonic() < deadline, seen.decode(errors="replace")[-2000:]
            assert process.poll() is None, seen.decode(errors="replace")[-2000:]
            time.sleep(0.02)

    command = [sys.executable, "-m", "appliance.cli", "run", "--config", str(config)]
    env = {**os.environ, **virtual_card().environment, "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, env=env, cwd=ROOT
    ) as process:
        os.close(terminal)
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        wait("idle")
        for _ in range(30):  # held: the terminal repeats the key
            os.write(keyboard, b" ")
            time.sleep(0.04)
        wait("listening")
        wait("It is noon")
        os.write(keyboard, b"m")
        wait("muted")
        os.write(keyboard, b"q")
        assert process.wait(10) == 0
    os.close(keyboard)
    thread.join(5)
