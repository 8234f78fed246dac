"""The table, by what is at fault."""

from __future__ import annotations

from tests.faults.row import Row
from tests.faults.rows import machine, network, panel, provisioning, responses, server, sound

ALL: tuple[Row, ...] = (
    *server.ROWS,
    *responses.ROWS,
    *network.ROWS,
    *provisioning.ROWS,
    *sound.ROWS,
    *panel.ROWS,
    *machine.ROWS,
)
# One of each kind, and cheap: what every run of the tests does. The rest is in the slow suite (`make test-slow`).
IN_EVERY_RUN = frozenset(
    {
        "close 1001 maximum duration, idle",
        "close 1006, listening",
        "close 1006, thinking",
        "close 1006, speaking",
        "close 4000, thinking",
        "secret expired before use",
        "upgrade 404, and another model",
        "error commit_empty",
        "error unknown_parameter of the settings",
        "error insufficient_quota",
        "error server_error",
        "response failed",
        "response never announced",
        "nonsense frames",
        "RST, listening",
        "loss 5 %",
        "captive portal 302",
        "certificate expired",
        "clock leaps an hour back, listening",
        "service down",
        "microphone unplugged, listening",
        "xrun storm, listening",
        "button bounces",
        "GPIO chip absent",
        "control socket: garbage",
        "disk full, enrolled",
        "key torn",
        "configuration broken at reload",
        "journald gone",
        "a link that nobody works at",
        "SIGKILL, speaking",
    }
)
