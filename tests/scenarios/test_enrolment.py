"""Enrolling with the device in hand: the whole daemon, the real service, the owner at its command line."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soxr

from appliance.conversation.events import ENROLMENT_PENDING
from appliance.conversation.lines import DIGITS
from appliance.credentials import enrolment
from appliance.local.audio import Sound
from appliance.local.speech import Moonshine
from appliance.reports import Report
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Home, Town, tone

RATE = 48_000
REPLY = tone(0.5, 24_000).tobytes()


def status(at: Home) -> dict[str, Any]:
    return at.daemon.command("status")


def press(at: Home) -> None:
    at.hold(0.4)


def waiting_code(at: Home, unlike: str = "") -> str:
    """The code that the device says, as the status shows it."""

    def waits() -> bool:
        return bool(status(at)["enrolment"].get("code", unlike) != unlike)

    at.daemon.until(waits, "a code")
    return str(status(at)["enrolment"]["code"])


def talks(at: Home) -> None:
    before = at.server.kinds().count("response.create")
    press(at)
    at.heard("response.create", before + 1)
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("idle")


def said(at: Home, code: str) -> int:
    return int(status(at)["counters"].get(f"said_{code}", 0))


def test_by_spoken_code_revoked_and_approved_again(home: MakeHome, town: Town, tmp_path: Path) -> None:
    at = home(Script(reply=REPLY), with_token=False)
    assert status(at)["enrolment"] == {"state": "none"}
    press(at)
    code = waiting_code(at)
    assert re.fullmatch(r"\d{3}-\d{3}-\d{3}", code)
    at.daemon.until(lambda: said(at, ENROLMENT_PENDING) == 1, "the code said")
    shown = status(at)
    assert (shown["phase"], shown["led"]) == ("fault", "enrolling")
    assert shown["enrolment"]["state"] == "waiting"
    assert 590 <= shown["enrolment"]["expires_s"] <= 600
    assert shown["last_error_code"] == ENROLMENT_PENDING
    assert code in shown["last_error"]
    lines = [li for li in at.daemon.log().splitlines() if code in li and not li.startswith("debug")]
    assert len(lines) == 1
    press(at)
    at.daemon.until(lambda: said(at, ENROLMENT_PENDING) == 2, "the code said again")
    assert waiting_code(at) == code
    assert not at.server.kinds()

    town.provisioning.command("approve", code)
    at.daemon.until(lambda: said(at, "enrolled") == 1, "ready", timeout_s=20)
    shown = status(at)
    assert (shown["phase"], shown["led"], shown["last_error"]) == ("idle", "idle", None)
    assert shown["enrolment"] == {"state": "enrolled"}
    talks(at)

    known = enrolment.load(tmp_path / "state")
    assert known is not None
    town.provisioning.command("devices", "revoke", known.device_id)
    at.background.run(at.server.hang_up())
    at.daemon.until(lambda: status(at)["link"] == "down", "the link down")
    press(at)
    again = waiting_code(at)
    assert again != code
    assert status(at)["led"] == "enrolling"
    assert "not (any more) enrolled" in at.daemon.log()
    town.provisioning.command("approve", again)
    at.daemon.until(lambda: said(at, "enrolled") == 2, "ready", timeout_s=20)
    talks(at)


def test_a_code_that_is_over_and_the_fresh_one_at_the_next_press(home: MakeHome, town: Town) -> None:
    at = home(Script(reply=REPLY), with_token=False)
    press(at)
    code = waiting_code(at)
    path = town.provisioning.directory / "provisioning.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("update authorizations set expires_ms = 0 where user_code = ?", (code.replace("-", ""),))
    at.daemon.until(lambda: said(at, "expired_token") == 1, "the end of the code", timeout_s=20)
    shown = status(at)
    assert (shown["phase"], shown["led"], shown["last_error_code"]) == ("idle", "offline", "expired_token")
    assert shown["enrolment"] == {"state": "none"}
    press(at)
    again = waiting_code(at)
    assert again != code
    town.provisioning.command("approve", again)
    at.daemon.until(lambda: said(at, "enrolled") == 1, "ready", timeout_s=20)
    talks(at)


def test_by_token_revoked_and_said_so_and_approved_by_code(home: MakeHome, town: Town, tmp_path: Path) -> None:
    at = home(Script(reply=REPLY))
    talks(at)
    known = enrolment.load(tmp_path / "state")
    assert known is not None
    town.provisioning.command("devices", "revoke", known.device_id)
    at.background.run(at.server.hang_up())
    at.daemon.until(lambda: status(at)["link"] == "down", "the link down")
    press(at)
    at.daemon.until(lambda: said(at, "access_denied") == 1, "the refusal")
    shown = status(at)
    assert (shown["led"], shown["last_error_code"]) == ("error", "access_denied")
    assert "refused this device" in shown["last_error"]
    press(at)
    town.provisioning.command("approve", waiting_code(at))
    at.daemon.until(lambda: said(at, "enrolled") == 1, "ready", timeout_s=20)
    talks(at)


def test_suspended_is_said_and_a_press_after_resuming_talks(home: MakeHome, town: Town, tmp_path: Path) -> None:
    at = home(Script(reply=REPLY))
    talks(at)
    known = enrolment.load(tmp_path / "state")
    assert known is not None
    town.provisioning.command("devices", "suspend", known.device_id)
    at.background.run(at.server.hang_up())
    at.daemon.until(lambda: status(at)["link"] == "down", "the link down")
    press(at)
    at.daemon.until(lambda: said(at, "device_suspended") == 1, "the refusal")
    assert (status(at)["led"], status(at)["last_error_code"]) == ("error", "device_suspended")
    town.provisioning.command("devices", "resume", known.device_id)
    press(at)
    at.daemon.until_phase("idle")
    talks(at)


def test_the_service_learns_how_the_session_went(home: MakeHome, town: Town, tmp_path: Path) -> None:
    at = home(Script(reply=REPLY), "[realtime]\nkeep_warm_s = 1\n")
    talks(at)
    at.daemon.until(lambda: status(at)["link"] == "down", "the session closed")
    at.daemon.until(lambda: reported(town, tmp_path) is not None, "the report")
    duration_s, reason = reported(town, tmp_path) or (0.0, "")
    assert reason == "idle"
    assert 1.0 <= duration_s < 30.0
    talks(at)
    assert at.daemon.stop() == 0
    (left,) = msgspec.json.decode((tmp_path / "state" / "reports.json").read_bytes(), type=list[Report])
    assert left.reason == "stopped"


def reported(town: Town, home_directory: Path) -> tuple[float, str] | None:
    """What the service's own database holds of this device's last session."""
    known = enrolment.load(home_directory / "state")
    assert known is not None
    query = (
        "select reports.duration_s, reports.reason from reports join mints on mints.session_id = reports.session_id"
        " where mints.device_id = ? order by reports.rowid desc"
    )
    with contextlib.closing(sqlite3.connect(town.provisioning.directory / "provisioning.sqlite3")) as database:
        row = database.execute(query, (known.device_id,)).fetchone()
    return None if row is None else (float(row[0]), str(row[1]))


@pytest.mark.speech
def test_a_recogniser_at_the_loudspeaker_can_write_the_code_down(home: MakeHome) -> None:
    at = home(Script(), "[audio]\nvolume = 70\n", with_token=False)
    press(at)
    code = waiting_code(at)
    at.daemon.until(lambda: said(at, ENROLMENT_PENDING) == 1, "the code said")
    time.sleep(13)
    heard = soxr.resample(at.replies(), RATE, 16_000)
    ear = Moonshine()
    try:
        groups = groups_of(heard)
        words = [asyncio.run(ear.hear(Sound(group, 16_000))).lower() for group in groups]
    finally:
        ear.close()
    # The small recogniser takes three of a thousand groups for another word, each with a six beside a nine.
    words = [re.sub("thix|thick|fick|fix", "six", word) for word in words]
    digits = [re.sub(r"\D", "", re.sub("|".join(DIGITS), lambda m: str(DIGITS.index(m[0])), word)) for word in words]
    assert "-".join(digits[-3:]) == code, words


def groups_of(samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> list[np.ndarray[tuple[int], np.dtype[np.int16]]]:
    """What sounds, cut at silences of more than half a second."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 100)
    cuts = np.flatnonzero(np.diff(loud) > 16_000 * 0.5)
    starts = [loud[0], *loud[cuts + 1]]
    stops = [*loud[cuts], loud[-1]]
    return [samples[max(0, a - 1600) : b + 1600] for a, b in zip(starts, stops, strict=True)]
