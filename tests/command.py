"""The command ``voice-appliance``, run in a process of its own or, quicker, in this one."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from unittest import mock

from appliance import cli
from tests.scenarios.home import ROOT

Done = subprocess.CompletedProcess[str]


def run(*arguments: str, **environment: str) -> Done:
    """Run the command in a process."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("VOICE_", "ALSA_"))}
    return subprocess.run(
        [sys.executable, "-m", "appliance.cli", *arguments],
        cwd=ROOT,
        env={**env, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def call(*arguments: str, stdin: str = "") -> Done:
    """Run the command here. Not for ``run``, which forbids the process to load typing_extensions."""
    assert arguments[:1] != ("run",)
    out, err = io.StringIO(), io.StringIO()
    root, ours = logging.root, logging.getLogger("appliance")
    kept = root.handlers[:], root.level, ours.level
    argv = ["voice-appliance", *arguments]
    with contextlib.ExitStack() as here:
        here.enter_context(contextlib.redirect_stdout(out))
        here.enter_context(contextlib.redirect_stderr(err))
        here.enter_context(mock.patch.object(sys, "argv", argv))
        here.enter_context(mock.patch.object(sys, "stdin", io.StringIO(stdin)))
        try:
            code = cli.main()
        except SystemExit as left:
            code = int(left.code or 0)
        finally:
            root.handlers[:] = kept[0]
            root.setLevel(kept[1])
            ours.setLevel(kept[2])
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())


def failed(done: Done, code: int, *words: str) -> None:
    """Check that the command failed with one line that holds ``words``."""
    assert done.returncode == code, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("voice-appliance"), done.stderr
    for word in words:
        assert word in done.stderr
