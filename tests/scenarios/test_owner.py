"""The owner at the web page, the device in the room: the real daemon, the real service, and a browser between them."""

from __future__ import annotations

import contextlib
import html
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from appliance.credentials import enrolment
from tests.command import call
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Home, Town
from tests.scenarios.test_enrolment import REPLY, press, reported, said, status, talks, waiting_code

WARM = "[realtime]\nkeep_warm_s = 1\n"


class Browser:
    """A signed-in owner: links, forms and cookies as a browser has them."""

    def __init__(self, town: Town) -> None:
        self.url = town.provisioning.url
        self._client = httpx2.Client(base_url=self.url, follow_redirects=True, headers={"Accept": "text/html"})
        link = town.provisioning.command("sign-in", "--url", self.url).strip()
        assert "Sign in on this device" in self.get(link.removeprefix(self.url))
        self.post("/sign-in", token=link.partition("token=")[2])

    def get(self, path: str) -> str:
        """A page; its form's token is kept for the next `post`."""
        return self._read(self._client.get(path))

    def post(self, path: str, **fields: str) -> str:
        """The page that a form leads to."""
        return self._read(self._client.post(path, data={"csrf": self._csrf, **fields}, headers={"Origin": self.url}))

    def _read(self, response: httpx2.Response) -> str:
        assert response.status_code == 200, response.text
        self._csrf = (re.findall(r'name="csrf" value="(\w+)"', response.text) or [""])[0]
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.text)).split())

    def make_profile(self, name: str, **limits: str) -> None:
        """A profile over the town's Realtime server."""
        self.get("/profiles/+new")
        fields = {"per_minute": "0", "burst": "1", "per_day": "0", "seconds_per_day": "0", **limits}
        self.post(
            "/profiles/+new", name=name, upstream="default", model="gpt-realtime-1.5", max_session_s="600", **fields
        )

    def approve(self, code: str, name: str, profile: str) -> str:
        """The two steps of the page; returns what the second one said."""
        self.get("/activate")
        asked = self.post("/activate", user_code=code)
        assert "Is this your device?" in asked
        assert code in asked
        return self.post(
            "/activate/answer", user_code=code.replace("-", ""), answer="approve", name=name, profile=profile
        )

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def owner(town: Town) -> Iterator[Browser]:
    browser = Browser(town)
    yield browser
    browser.close()


def hung_up(at: Home) -> None:
    """The connection is gone, so that the next press asks the service."""
    if status(at)["link"] != "down":
        at.background.run(at.server.hang_up())
    at.daemon.until(lambda: status(at)["link"] == "down", "the link down")


def rows(town: Town, query: str, *values: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(town.provisioning.directory / "provisioning.sqlite3")) as database:
        return database.execute(query, values).fetchall()


def device_id(directory: Path) -> str:
    known = enrolment.load(directory / "state")
    assert known is not None
    return known.device_id


def test_approved_used_suspended_revoked_and_taken_back(
    home: MakeHome, town: Town, owner: Browser, tmp_path: Path
) -> None:
    owner.make_profile("free")
    at = home(Script(reply=REPLY), WARM, with_token=False)
    press(at)
    assert "The device notices within a few seconds" in owner.approve(waiting_code(at), "Kitchen <b>", "free")
    at.daemon.until(lambda: said(at, "enrolled") == 1, "ready", timeout_s=20)
    talks(at)
    page = f"/devices/{device_id(tmp_path)}"
    at.daemon.until(lambda: reported(town, tmp_path) is not None, "the report")
    (told,) = rows(town, "select model, tokens, cost_usd from reports where device_id = ?", device_id(tmp_path))
    assert told[0] == "gpt-realtime-1.5"
    assert told[1] > 0
    assert told[2] > 0
    seen = owner.get(page)
    assert "Kitchen <b>" in seen
    assert re.search(r"granted free \d+ ms \d+ s idle (< )?\$0\.\d\d", seen), seen
    assert "$0." in owner.get("/usage")

    owner.get(page)
    assert "Suspended." in owner.post(page, do="suspend")
    hung_up(at)
    press(at)
    at.daemon.until(lambda: said(at, "device_suspended") == 1, "the refusal")
    assert (status(at)["led"], status(at)["last_error_code"]) == ("error", "device_suspended")
    assert "Resumed." in owner.post(page, do="resume")
    press(at)
    at.daemon.until_phase("idle")
    talks(at)

    owner.get(page)
    assert "Revoked." in owner.post(page, do="revoke")
    hung_up(at)
    press(at)
    code = waiting_code(at)
    assert "not (any more) enrolled" in at.daemon.log()
    owner.get("/activate")
    assert "This device was here before" in owner.post("/activate", user_code=code)
    owner.approve(code, "Kitchen", "free")
    at.daemon.until(lambda: said(at, "enrolled") == 2, "ready", timeout_s=20)
    talks(at)
    audit = owner.get(f"/audit?subject={device_id(tmp_path)}")
    assert re.findall(r"owner (approve|suspend|resume|revoke|rename)", audit)[::-1] == [
        "approve",
        "rename",
        "suspend",
        "resume",
        "revoke",
        "approve",
        "rename",
    ]


def test_two_conversations_a_day_and_what_it_says_then(
    home: MakeHome, town: Town, owner: Browser, tmp_path: Path
) -> None:
    owner.make_profile("two", per_day="2")
    at = home(Script(reply=REPLY), with_token=False)
    press(at)
    owner.approve(waiting_code(at), "Hall", "two")
    at.daemon.until(lambda: said(at, "enrolled") == 1, "ready", timeout_s=20)
    for _ in range(2):
        talks(at)
        hung_up(at)
    asked = "select outcome from mints where device_id = ?"
    for presses in (1, 2):
        press(at)
        at.daemon.until(lambda count=presses: said(at, "quota_exceeded") == count, "the refusal")  # type: ignore[misc]
        shown = status(at)
        assert (shown["led"], shown["last_error_code"]) == ("error", "quota_exceeded")
        assert re.search(r"for \d+ s more nothing is asked", shown["last_error"])
    outcomes = [outcome for (outcome,) in rows(town, asked, device_id(tmp_path))]
    assert outcomes == ["minted", "minted", "quota_exceeded"], "the second press asked although it knew"
    assert "quota exceeded" in owner.get(f"/devices/{device_id(tmp_path)}")


def test_a_key_of_the_list_talks_at_the_first_press_and_changes_while_it_runs(
    home: MakeHome, town: Town, tmp_path: Path
) -> None:
    config = tmp_path / "appliance.toml"
    config.write_text(f'[provisioning]\nurl = "{town.provisioning.url}"\n[state]\ndirectory = "{tmp_path / "state"}"\n')
    shown = call("enrol", "--show-key", "--config", str(config)).stdout.strip()
    (tmp_path / "keys").write_text(f"{shown},Attic,default\n")
    town.provisioning.command("devices", "import", str(tmp_path / "keys"))
    at = home(Script(reply=REPLY), with_token=False)
    talks(at)
    assert rows(town, "select name, status from devices where thumbprint = ?", shown) == [("Attic", "active")]
    changed = call("rotate-key", "--config", str(config))
    assert changed.returncode == 0, changed.stderr
    hung_up(at)
    talks(at)
    assert said(at, "enrolment_pending") == 0
    (now,) = rows(town, "select thumbprint from devices where id = ?", device_id(tmp_path))
    assert now[0] != shown

    # Sent away, its place in the list is no way back: the owner's word on a code is.
    town.provisioning.command("devices", "revoke", device_id(tmp_path))
    hung_up(at)
    press(at)
    town.provisioning.command("approve", waiting_code(at))
    at.daemon.until(lambda: said(at, "enrolled") == 1, "ready", timeout_s=20)
    talks(at)
    assert now[0] in town.provisioning.command("devices", "imported")
    assert "removed 1 key(s)" in town.provisioning.command("devices", "unimport", str(tmp_path / "keys"))
