"""The command ``voice-appliance update``, on an image and elsewhere; and whether the service is there."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from appliance import config
from appliance.errors import UpdateError
from appliance.update import commands, record, service, updater
from appliance.update.health import Facts
from appliance.update.record import Record
from tests.command import call, failed
from tests.fakes.update_server import UpdateServer
from tests.update.machine import Device

NO_ROUTE = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
ROUTE = NO_ROUTE + "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\n"
LAN = NO_ROUTE + "eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "updates"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "wishes"))
    return tmp_path / "a.toml"


def configured(path: Path, update: str = "") -> str:
    text = f'[control]\nsocket = "{path.parent}/control.sock"\n[panel]\nbackend = "none"\n[update]\n{update}\n'
    path.write_text(text)
    return str(path)


def test_without_a_folder_it_names_the_key(path: Path) -> None:
    failed(call("update", "check", "--config", configured(path)), 1, "[update] url")
    failed(call("update", "install", "--config", configured(path)), 1, "[update] url")


def test_by_itself_nothing_is_no_failure(path: Path, server: UpdateServer) -> None:
    for update in ("", f'url = "{server.url}"\nautomatic = false', f'url = "{server.url}"'):
        assert call("update", "auto", "--config", configured(path, update)).returncode == 0
    assert [name for name, _ in server.asked] == ["stable.json"]
    kept = record.load(path.parent / "updates")
    assert "stable.json answers 404" in kept.last


def test_status_on_a_machine_that_is_no_image(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    done = call("update", "status", "--config", configured(path, 'url = "https://x.example/u"\nhours = "02-05"'))
    assert done.returncode == 0, done.stderr
    assert "only the card image has two slots" in done.stdout
    assert "stable at https://x.example/u, by itself, between the hours 02-05" in done.stdout


def test_status_tells_what_waits_and_what_failed(path: Path, device: Device) -> None:
    kept = record.tried(record.installed(Record(), "0.3.0", "B"), Facts(ready=True, sound="moves", link="reached"))
    record.save(path.parent / "updates", record.failed(kept, "0.2.0", "2026-11-27T03:00:00+00:00", "it stands"))
    done = call("update", "status", "--config", configured(path))
    assert done.stdout.splitlines() == [
        "runs      0.1.0 in slot A",
        "channel   none",
        "waits     0.3.0 in slot B, tried 1 of 3 times",
        "failed    0.2.0: it stands",
        "last      0.2.0 failed: it stands (2026-11-27T03:00:00+00:00)",
    ]
    assert device.booted == "A"


def test_confirming_with_nothing_on_trial_needs_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert call("update", "confirm", "--config", configured(path)).returncode == 0


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ('url = "https://x#y"', "update.url"),
        ('hours = "2-5"', "update.hours"),
        ('hours = "24-05"', "update.hours"),
        ('channel = "../x"', "update.channel"),
        ("automatic = 1", "update.automatic"),
    ],
)
def test_a_bad_value_is_named(path: Path, update: str, words: str) -> None:
    failed(call("update", "check", "--config", configured(path, update)), 78, words)


def test_the_images_version_is_the_images(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("0.2.0.3\n")
    assert updater.image_version(tmp_path / "version") == "0.2.0.3"
    assert updater.image_version(tmp_path / "none") == "0.1.0"


def test_a_directory_that_is_not_ours_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UpdateError, match="Not a directory"), updater.alone(tmp_path / "file" / "x"):
        pass


# --- is the service there, and if not, is it the network? ---


def net(folder: Path, route: str) -> Path:
    (folder / "route").write_text(route)
    (folder / "ipv6_route").write_text(
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
        "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
    )
    return folder


def settings(provisioning: str, update: str) -> config.Config:
    return config.Config(provisioning=config.Provisioning(url=provisioning), update=config.Update(url=update))


@pytest.fixture
def closed() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.mark.parametrize(("route", "link"), [(NO_ROUTE, "absent"), (LAN, "absent"), (ROUTE, "away")])
def test_a_service_that_is_away_is_not_a_network_that_is_missing(
    tmp_path: Path, closed: str, server: UpdateServer, route: str, link: str
) -> None:
    found, why = service.reached(settings(closed, server.url), net(tmp_path, route))
    assert found == link
    assert "refused the connection" in why


def test_where_nothing_answers_the_network_is_missing(tmp_path: Path, closed: str) -> None:
    assert service.reached(settings(closed, closed), net(tmp_path, ROUTE))[0] == "absent"
    assert service.reached(settings(closed, ""), net(tmp_path, ROUTE))[0] == "absent"


def test_a_service_that_answers_nonsense_is_away(tmp_path: Path, server: UpdateServer) -> None:
    server.files["x"] = json.dumps({}).encode()
    assert service.reached(settings(server.url, server.url), net(tmp_path, NO_ROUTE))[0] == "away"


def test_without_a_service_there_is_nothing_to_reach(tmp_path: Path) -> None:
    assert service.reached(settings("", ""), net(tmp_path, ROUTE)) == ("unset", "")
    assert commands.COMMANDS.keys() == {"check", "install", "status", "auto", "confirm"}
