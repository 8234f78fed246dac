"""``voice-appliance import`` as systemd and people call it."""

from __future__ import annotations

from tests.command import call
from tests.first_boot.machine import Machine
from tests.first_boot.test_importing import FILE


def test_it_is_found_taken_over_and_told(machine: Machine) -> None:
    done = call("import", "--root", str(machine.root))
    assert (done.returncode, done.stdout) == (0, "no settings on the card\n")
    machine.write(FILE)
    done = call("import", "--root", str(machine.root))
    assert (done.returncode, done.stdout) == (0, "taken over\n")
    assert "Wi-Fi's country" in done.stderr or not done.stderr
    assert call("import", "--root", str(machine.root)).stdout == "nothing new\n"


def test_refused_is_78_and_changes_nothing(machine: Machine) -> None:
    machine.write('nme = "x"\n')
    done = call("import", "--root", str(machine.root))
    assert (done.returncode, done.stdout) == (78, "refused: voice.toml: unknown key nme; did you mean name?\n")
    assert machine.settings() == {}


def test_a_partition_that_did_not_come_is_78_too(machine: Machine) -> None:
    (machine.card / "autoboot.txt").unlink()
    done = call("import", "--root", str(machine.root))
    assert done.returncode == 78
    assert done.stdout.startswith("out of reach: the card's first partition")


def test_a_check_changes_nothing(machine: Machine) -> None:
    machine.write(FILE)
    done = call("import", str(machine.file), "--check", "--root", str(machine.root))
    assert (done.returncode, done.stdout) == (0, f"{machine.file}: good\n")
    assert machine.settings() == {}
    assert machine.file.read_text() == FILE
    machine.write("country = 'Germany'\n")
    done = call("import", str(machine.file), "--check", "--root", str(machine.root))
    assert done.returncode == 78
    assert done.stderr == "voice-appliance: voice.toml: country = 'Germany'; did you mean \"DE\"?\n"
    assert call("import", "nowhere.toml", "--check").returncode == 78
