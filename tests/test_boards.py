"""Every board profile in hardware/ loads, wires no line twice, and is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance import board, config
from appliance.errors import ConfigError
from appliance.translation import canceller_of

HARDWARE = Path(__file__).resolve().parent.parent / "hardware"
PROFILES = sorted(path.stem for path in HARDWARE.glob("*.toml"))
I2S_LINES = {18, 19, 20, 21}


@pytest.fixture(autouse=True)
def _shipped_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(HARDWARE))


def test_there_are_profiles() -> None:
    assert {"virtual", "any", "usb"} <= set(PROFILES)
    assert set(PROFILES) <= set(board.names())


@pytest.mark.parametrize("name", PROFILES)
def test_profile_loads_and_says_how_it_is_known(name: str) -> None:
    profile = board.load(name)
    assert profile.name
    assert "verified" in (HARDWARE / f"{name}.toml").read_text()
    assert all(channel < profile.capture.channels for channel in profile.capture.microphones)


@pytest.mark.parametrize("name", PROFILES)
def test_no_line_is_used_twice(name: str) -> None:
    profile = board.load(name)
    lines = [*profile.light.pins, *([] if profile.button.pin is None else [profile.button.pin])]
    assert len(lines) == len(set(lines))
    assert not set(lines) & I2S_LINES, "a sound board on the header needs these"
    assert len(profile.light.pins) in (0, 1, 3)


@pytest.mark.parametrize("name", PROFILES)
def test_profile_is_documented_with_its_lines(name: str) -> None:
    profile = board.load(name)
    text = (HARDWARE / "README.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(f"| [`{name}`]({name}.toml)")]
    assert len(rows) == 1, f"hardware/README.md needs one row for {name}"
    button, light = (cell.strip() for cell in rows[0].split("|")[4:6])
    assert button == ("none" if profile.button.pin is None else f"GPIO{profile.button.pin}")
    assert [int(n) for n in re.findall(r"^GPIO(\d+)", light)] == list(profile.light.pins)


REFERENCED = "[capture]\nchannels = 6\nmicrophones = [0, 1]\nreference = {}\n"


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (
            REFERENCED.format(1),
            ["capture.microphones = [0, 1]", "channel 1 is what the loudspeaker plays", "leave it out"],
        ),
        (REFERENCED.format(6), ["capture.reference = 6", "a channel from 0 to 5"]),
        ('aec = "none"', ["aec", "'none'"]),
        ("delay_ms = 451", ["delay_ms", "450"]),
        ('calibrate = "always"', ["calibrate"]),
        ('echo_cancellation = "hardware"', ["echo_cancellation"]),
        ("echo_delay_ms = 30", ["echo_delay_ms"]),
    ],
)
def test_what_a_profile_says_of_the_echo_is_checked(
    profile: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))
    (tmp_path / "mine.toml").write_text(f'name = "Mine"\n{profile}')
    with pytest.raises(ConfigError) as refused:
        board.load("mine")
    for word in ("mine.toml", *words):
        assert word in str(refused.value)


def test_the_loudspeakers_own_signal_is_no_microphone_of_the_configuration_either(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('board = "respeaker-usb-4mic"\n[audio]\nmicrophones = [1, 5]\n')
    with pytest.raises(ConfigError, match=r"audio.microphones = \[1, 5\]: channel 5 is what the loudspeaker plays"):
        config.load(path)
    path.write_text('board = "respeaker-usb-4mic"\n[audio]\nmicrophones = [1, 2]\n')
    assert config.load(path).config.audio.microphones == (1, 2)


def test_our_canceller_is_left_out_behind_one_of_the_boards_own(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    for name, canceller in (("respeaker-usb-4mic", "none"), ("usb", "aec3")):
        path.write_text(f'board = "{name}"\n')
        assert canceller_of(config.load(path)) == canceller


def test_the_tests_card_is_not_measured_by_itself() -> None:
    assert board.load("virtual").calibrate == "never"
    assert {board.load(name).calibrate for name in PROFILES if name != "virtual"} == {"first_start"}


def test_every_key_of_a_profile_is_documented() -> None:
    text = (HARDWARE / "README.md").read_text()
    parts = {"capture": board.Capture, "playback": board.Playback, "button": board.Button, "light": board.Light}
    keys = [f"{part}.{key}" for part, struct in parts.items() for key in struct.__struct_fields__]
    keys += [key for key in board.Board.__struct_fields__ if key not in parts]
    assert [key for key in keys if f"`{key}`" not in text] == []
