"""Routing tables as Linux writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.system.routes import PROC, is_connected

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
LAN = "wlan0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0\n"
OUT = "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
ZERO = "0" * 32
LOOPBACK_6 = f"{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo\n"
OUT_6 = f"{ZERO} 00 {ZERO} 00 fe80{'0' * 28} 00000400 00000003 00000000 00000003    wlan0\n"


@pytest.mark.parametrize(
    ("v4", "v6", "connected"),
    [
        (HEAD, LOOPBACK_6, False),
        (HEAD + LAN, LOOPBACK_6, False),
        (HEAD + LAN + OUT, LOOPBACK_6, True),
        (HEAD, LOOPBACK_6 + OUT_6, True),
        (HEAD + OUT.replace("0003", "0002"), "", False),
        ("", "", False),
        (None, None, False),
    ],
)
def test_a_way_out(tmp_path: Path, v4: str | None, v6: str | None, connected: bool) -> None:
    for name, content in (("route", v4), ("ipv6_route", v6)):
        if content is not None:
            (tmp_path / name).write_text(content)
    assert is_connected(tmp_path) is connected


def test_the_tables_of_this_machine_can_be_read() -> None:
    assert (PROC / "route").read_text().startswith("Iface\tDestination")
    assert is_connected() in (True, False)
