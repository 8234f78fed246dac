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
        "upgrade 503",
        "upgrade 404, and another model",
        "error commit_empty",
        "error already_has_active_response",
        "error unknown_parameter of the settings",
        "error insufficient_quota",
        "error server_error",
        "response failed",
        "response incomplete, empty",
        "response never announced",
        "nonsense frames",
        "stall 5 s, thinking",
        "RST, listening",
        "loss 5 %",
        "outage 3 s, mid-reply",
        "captive portal 302",
        "certificate expired",
        "clock leaps an hour back, listening",
        "service down",
        "service talks nonsense",
        "device suspended",
        "provider: insufficient_quota",
        "microphone unplugged, listening",
        "card frozen, speaking",
        "xrun storm, listening",
        "button bounces",
        "GPIO chip absent",
        "control socket: garbage",
        "disk full, enrolled",
        "key torn",
        "configuration broken at reload",
        "journald gone",
        "audio thread dead, listening",
        "a link that nobody works at",
        "SIGKILL, speaking",
    }
)
