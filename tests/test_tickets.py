"""Tickets against the real provisioning service: enrolment when it is first needed, and whatever is in the way."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config import Config, Provisioning, State
from appliance.credentials import enrolment
from appliance.credentials.storage import IDENTITY_FILE
from appliance.enrolling import CREDENTIAL, enrolment_token
from appliance.errors import ConfigError, ProvisioningError, Secret, StateError
from appliance.realtime.session import Need, Ticket
from appliance.tickets import Tickets
from tests.command import call, failed
from tests.scenarios.home import ROOT
from tests.scenarios.home import Provisioning as Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service"), "ws://127.0.0.1:9/v1/realtime")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_credentials_of_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def config(directory: Path, url: str, token: str | None = None) -> Config:
    named = ""
    if token is not None:
        (directory / "token").write_text(token + "\n")
        named = str(directory / "token")
    return Config(
        state=State(directory=str(directory / "state")), provisioning=Provisioning(url=url, enrolment_token_file=named)
    )


def mint(tickets: Tickets) -> Ticket:
    return asyncio.run(tickets.mint())


def refused(tickets: Tickets) -> ProvisioningError:
    """What the session is told: it knows how to show a ProvisioningError, and nothing else."""
    with pytest.raises(ProvisioningError) as caught:
        mint(tickets)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def test_the_first_mint_enrols_by_token_and_the_next_daemon_remembers(service: Service, tmp_path: Path) -> None:
    settings = config(tmp_path, service.url, service.token)
    first = Tickets(settings)
    ticket = mint(first)
    assert ticket.url == "ws://127.0.0.1:9/v1/realtime"
    assert ticket.secret
    assert ticket.model
    assert ticket.longest_s == 3600.0  # as the profile has it
    known = enrolment.load(tmp_path / "state")
    assert known is not None
    assert known.issuer == service.url
    (tmp_path / "token").unlink()  # not needed any more
    mint(first)
    mint(Tickets(settings))
    assert enrolment.load(tmp_path / "state") == known


def test_the_token_may_come_as_a_credential_of_systemd(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / CREDENTIAL).write_text(service.token)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert mint(Tickets(config(tmp_path, service.url))).secret


def test_an_empty_credential_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit passes an empty one where the owner gave none."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = config(tmp_path, "")
    assert enrolment_token(settings) is None
    (tmp_path / CREDENTIAL).write_text("")
    assert enrolment_token(settings) is None


def test_the_configured_file_comes_before_the_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / CREDENTIAL).write_text("vet_of_systemd")
    assert enrolment_token(config(tmp_path, "")) == "vet_of_systemd"
    assert enrolment_token(config(tmp_path, "", "vet_configured")) == "vet_configured"


def test_moving_to_another_service_enrols_there(service: Service, tmp_path: Path) -> None:
    settings = config(tmp_path, service.url, service.token)
    tickets = Tickets(settings)
    elsewhere = enrolment.Enrolment("http://127.0.0.1:9", "d_old", Secret(service.token))
    enrolment.save(elsewhere, tmp_path / "state")
    assert mint(tickets).secret
    known = enrolment.load(tmp_path / "state")
    assert known is not None
    assert known.issuer == service.url


def forgotten(service: Service, directory: Path) -> None:
    """The service does not know the stored token any more, as after its data were lost."""
    enrolment.save(enrolment.Enrolment(service.url, "d_x", Secret("vdt_of_another_time")), directory / "state")


def test_a_device_whose_token_is_unknown_enrols_again(service: Service, tmp_path: Path) -> None:
    tickets = Tickets(config(tmp_path, service.url, service.token))
    forgotten(service, tmp_path)
    assert mint(tickets).secret
    known = enrolment.load(tmp_path / "state")
    assert known is not None
    assert known.device_id != "d_x"


def test_without_a_token_it_asks_for_a_code_and_the_remedy_needs_no_restart(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    tickets = Tickets(config(tmp_path, service.url))
    forgotten(service, tmp_path)
    for _ in range(2):
        error = refused(tickets)
        assert (error.code, error.retry) == ("enrolment_pending", False)
        assert tickets.was_enrolled
        tickets.close()
    (tmp_path / CREDENTIAL).write_text(service.token)
    assert mint(tickets).secret
    assert not tickets.was_enrolled


def test_a_revoked_device_does_not_get_in_again_by_its_token_but_by_a_code(service: Service, tmp_path: Path) -> None:
    over = asyncio.Event()
    tickets = Tickets(config(tmp_path, service.url, service.token), tell=lambda _: over.set())
    mint(tickets)
    known = enrolment.load(tmp_path / "state")
    assert known is not None
    service.command("devices", "revoke", known.device_id)
    assert refused(tickets).code == "access_denied"

    async def press_again() -> None:
        with pytest.raises(ProvisioningError) as waits:
            await tickets.mint()
        assert waits.value.code == "enrolment_pending"
        assert f"approve {tickets.code}" in waits.value.hint
        await asyncio.to_thread(service.command, "approve", tickets.code)
        await asyncio.wait_for(over.wait(), 20)
        assert tickets.status() == {"state": "enrolled"}
        assert (await tickets.mint()).secret
        assert tickets.code == ""

    asyncio.run(press_again())


def test_nobody_is_there_to_hear_a_code_when_nobody_pressed(service: Service, tmp_path: Path) -> None:
    """A background try of a refused device must not begin an enrolment."""
    tickets = Tickets(config(tmp_path, service.url))

    async def story() -> None:
        tickets._failed(ProvisioningError("suspended", code="device_suspended"))
        tickets._pacing._due_s = 0.0
        with pytest.raises(ProvisioningError) as refused:
            await tickets.mint(Need.ITSELF)
        assert refused.value.code == "device_suspended"
        assert tickets.status() == {"state": "none"}

    asyncio.run(story())


# --- the same by command ---


def test_enrol_check_reset(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text(f'[provisioning]\nurl = "{service.url}"\n[state]\ndirectory = "{tmp_path / "state"}"\n')
    enrolled = call("enrol", "--config", str(path), "--token-file", "-", stdin=service.token + "\n")
    assert enrolled.returncode == 0, enrolled.stderr
    assert enrolled.stdout.startswith(f"enrolled at {service.url} as d_")
    assert service.token not in enrolled.stdout + enrolled.stderr
    assert "enrolment    ok: as d_" in call("check", "--config", str(path)).stdout
    done = call("reset", "--config", str(path), "--yes")
    assert done.returncode == 0, done.stderr
    assert f"signed out at {service.url}" in done.stdout
    assert list((tmp_path / "state").iterdir()) == []


def test_by_the_key_that_it_shows_and_with_another_key_while_it_runs(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text(f'[provisioning]\nurl = "{service.url}"\n[state]\ndirectory = "{tmp_path / "state"}"\n')
    shown = call("enrol", "--show-key", "--config", str(path))
    assert shown.returncode == 0, shown.stderr
    failed(call("rotate-key", "--config", str(path)), 78, "not enrolled")
    (tmp_path / "keys").write_text(shown.stdout)  # the list is as simple as that
    assert "imported 1 key(s)" in service.command("devices", "import", str(tmp_path / "keys"))
    tickets = Tickets(config(tmp_path, service.url))
    assert mint(tickets).secret
    known = enrolment.load(tmp_path / "state")
    assert known is not None
    assert f"its thumbprint is {shown.stdout.strip()}" in call("check", "--config", str(path)).stdout
    idle = Tickets(config(tmp_path, service.url))
    idle.load_identity()
    changed = call("rotate-key", "--config", str(path))
    assert changed.returncode == 0, changed.stderr
    assert "the key was changed; its thumbprint is" in changed.stdout
    assert "the old key ends" not in changed.stdout
    assert mint(tickets).secret  # the daemon that ran meanwhile
    assert not tickets.was_enrolled
    assert mint(idle).secret  # and one that had only loaded the old key
    after = enrolment.load(tmp_path / "state")
    assert after is not None
    assert (after.device_id, after.issuer) == (known.device_id, known.issuer)
    assert after.token != known.token


def test_enrol_by_a_code_that_is_printed_and_waited_for(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text(f'[provisioning]\nurl = "{service.url}"\n[state]\ndirectory = "{tmp_path / "state"}"\n')
    command = [sys.executable, "-m", "appliance.cli", "enrol", "--config", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as enrolling:
        assert enrolling.stdout is not None
        told = enrolling.stdout.readline()
        code = told.split()[1].rstrip(":")
        assert f"`voice-provisioning approve {code}`" in told
        assert "10 minutes at most" in enrolling.stdout.readline()
        service.command("approve", code)
        assert enrolling.stdout.readline().startswith(f"enrolled at {service.url} as d_")
        assert enrolling.wait(10) == 0
    assert mint(Tickets(config(tmp_path, service.url))).secret


def test_a_daemon_whose_device_was_enrolled_by_command_meanwhile_just_talks(service: Service, tmp_path: Path) -> None:
    tickets = Tickets(config(tmp_path, service.url))
    forgotten(service, tmp_path)
    assert refused(tickets).code == "enrolment_pending"
    assert tickets.was_enrolled
    tickets.close()
    mint(Tickets(config(tmp_path, service.url, service.token)))
    assert mint(tickets).secret
    assert not tickets.was_enrolled


def test_enrol_with_a_wrong_token(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text(f'[provisioning]\nurl = "{service.url}"\n[state]\ndirectory = "{tmp_path / "state"}"\n')
    done = call("enrol", "--config", str(path), "--token-file", "-", stdin="vet_wrong_token_of_nobody")
    failed(done, 1, "unknown, used up or expired", "tokens create")
    assert "wrong_token" not in done.stderr


def test_no_service_configured(tmp_path: Path) -> None:
    error = refused(Tickets(config(tmp_path, "")))
    assert error.code == "no_provisioning"
    assert "[provisioning] url" in str(error)


def test_no_token(service: Service, tmp_path: Path) -> None:
    assert refused(Tickets(config(tmp_path, service.url))).code == "enrolment_pending"


def test_a_service_that_is_away_may_be_tried_again(tmp_path: Path) -> None:
    assert refused(Tickets(config(tmp_path, "http://127.0.0.1:9", "vet_x"))).retry


# --- files in the way: the appliance shows it and goes on ---


def test_a_token_file_that_is_gone(service: Service, tmp_path: Path) -> None:
    tickets = Tickets(config(tmp_path, service.url, "x"))
    (tmp_path / "token").unlink()
    error = refused(tickets)
    assert not error.retry
    assert "provisioning.enrolment_token_file" in str(error)


def test_a_token_file_that_is_no_text(service: Service, tmp_path: Path) -> None:
    tickets = Tickets(config(tmp_path, service.url, "x"))
    (tmp_path / "token").write_bytes(b"\xff\xfe\x00secret")
    error = refused(tickets)
    assert str(tmp_path / "token") in str(error)
    assert "secret" not in str(error)


def test_a_damaged_enrolment(service: Service, tmp_path: Path) -> None:
    tickets = Tickets(config(tmp_path, service.url, service.token))
    (tmp_path / "state" / enrolment.FILE_NAME).write_text("{")
    assert "is damaged; delete it and enrol" in str(refused(tickets))


def test_a_damaged_key(service: Service, tmp_path: Path) -> None:
    mint(Tickets(config(tmp_path, service.url, service.token)))
    (tmp_path / "state" / IDENTITY_FILE).write_text("{")
    assert "device key" in str(refused(Tickets(config(tmp_path, service.url))))


def test_a_state_directory_that_cannot_be_is_known_before_readiness(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StateError, match="choose another"):
        Tickets(config(tmp_path, ""))
    with pytest.raises(StateError, match="File name too long"):
        Tickets(Config(state=State(directory="/" + "x" * 300)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to be refused")
def test_a_state_directory_that_is_not_ours_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    program = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from appliance.config import Config, State
from appliance.credentials.identity import Identity
from appliance.errors import StateError
from appliance.tickets import Tickets
os.setuid(65534)
try:
    Tickets(Config(state=State(directory={str(tmp_path / "closed" / "state")!r})))
except StateError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "not permitted: the directory must belong to the user" in done.stdout


def test_a_named_file_that_is_absent_is_a_configuration_error(tmp_path: Path) -> None:
    settings = config(tmp_path, "", "x")
    (tmp_path / "token").unlink()
    with pytest.raises(ConfigError, match="make the file readable"):
        enrolment_token(settings)
