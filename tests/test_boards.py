"""Every board profile in hardware/ loads, wires no line twice, and is documented."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from appliance import board, config
from appliance.errors import ConfigError
from appliance.translation import canceller_of
from tests import docs, wiring

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
    lines += [wiring.SPI_DATA, wiring.SPI_CLOCK] * bool(profile.light.spi)
    lines += [] if profile.light.power is None else [profile.light.power]
    assert len(lines) == len(set(lines))
    assert not set(lines) & I2S_LINES, "a sound board on the header needs these"
    assert len(profile.light.pins) in (0, 1, 3)
    on_header = wiring.ends(profile)
    if profile.header:
        assert {wiring.pin_of(line) for line in lines} <= set(on_header)
    for pin in on_header:
        assert isinstance(wiring.PINS[pin - 1], int) or pin in profile.header


@pytest.mark.parametrize("name", PROFILES)
def test_profile_says_where_it_is_from_and_has_its_picture(name: str) -> None:
    profile = board.load(name)
    assert profile.sources
    assert profile.driver
    drawn = wiring.picture(name, profile)
    path = HARDWARE / "pictures" / f"{name}.svg"
    assert path.exists() == bool(drawn)
    if not drawn:
        assert name in ("any", "virtual"), "every board has something to connect"
        return
    root = ET.fromstring(drawn)
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    for end in (*wiring.ends(profile).values(), *profile.sockets, *profile.sockets.values(), profile.name):
        assert end in texts
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for element in root.iter():
        assert 0 <= float(element.get("x", 0)) < width
        assert 0 <= float(element.get("y", 0)) < height


def test_the_header_is_that_of_a_raspberry_pi() -> None:
    lines = [pin for pin in wiring.PINS if isinstance(pin, int)]
    assert (len(wiring.PINS), sorted(lines)) == (40, list(range(28)))
    supplies = {pin: number for number, pin in enumerate(wiring.PINS, 1) if isinstance(pin, str)}
    assert {number for number, pin in enumerate(wiring.PINS, 1) if pin == "GND"} == {6, 9, 14, 20, 25, 30, 34, 39}
    assert (supplies["3.3 V"], supplies["5 V"]) == (17, 4)
    known = {
        2: 3,
        3: 5,
        4: 7,
        14: 8,
        17: 11,
        18: 12,
        27: 13,
        23: 16,
        10: 19,
        11: 23,
        5: 29,
        12: 32,
        19: 35,
        20: 38,
        21: 40,
    }
    assert {line: wiring.pin_of(line) for line in known} == known


def test_pages_and_pictures_are_those_of_the_profiles() -> None:
    for name, wanted in docs.generated().items():
        assert (HARDWARE.parent / name).read_text() == wanted, f"{name} is stale: make docs"
    drawn = {path.stem for path in (HARDWARE / "pictures").glob("*.svg")}
    assert drawn <= set(PROFILES), "a picture without its profile"


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
        ('mixer = [{ control = "Speaker" }]', ["mixer control 'Speaker' is to be nothing", "volume, on or choice"]),
        ('mixer = [{ control = "Speaker", volume = "loud" }]', ["mixer", "volume"]),
        ('[found_by]\nusb = ["2886:1A"]', ["found_by.usb"]),
        ("[light]\npins = [1]\nspi = '0.0'", ["light.pins and light.spi", "name one"]),
        ("[light]\nspi = '../tty'", ["light.spi"]),
        ("[light]\npower = 5", ["light.power = 5 without light.spi"]),
        ('[header]\n41 = "x"', ["header"]),
        ('config_txt = ["kernel=mine.img"]', ["config_txt has 'kernel=mine.img'", "dtoverlay=NAME"]),
        ('config_txt = ["include more.txt"]', ["config_txt has 'include more.txt'"]),
        ('config_txt = ["[pi5]"]', ["config_txt has '[pi5]'"]),
        ('config_txt = ["dtoverlay=../x"]', ["config_txt has 'dtoverlay=../x'"]),
        ('config_txt = ["dtoverlay=a\\nkernel=b"]', ["config_txt has"]),
        ('config_txt = ["dtparam=spi = on"]', ["config_txt has 'dtparam=spi = on'", "without blanks"]),
        ('config_txt = ["#dtoverlay=x"]', ["config_txt has '#dtoverlay=x'"]),
        ('config_txt = ["#dtparam=audio=off"]', ["config_txt has", "#dtparam=NAME=on"]),
        (f"config_txt = ['dtoverlay={'x' * 90}']", ["a line of 100 characters", "98"]),
        (f"config_txt = {['dtparam=spi=on'] * 30}", ["config_txt has 450 bytes", "at most 400"]),
    ],
)
def test_what_a_profile_says_is_checked(
    profile: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))
    (tmp_path / "mine.toml").write_text(f'name = "Mine"\n{profile}')
    with pytest.raises(ConfigError) as refused:
        board.load("mine")
    for word in ("mine.toml", *words):
        assert word in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        "dtparam=i2c_arm=on,i2c_arm_baudrate=400000",
        "dtparam=audio=off",
        "#dtparam=audio=on",
        "dtoverlay=",
        "dtoverlay=wm8960-soundcard,alsaname=seeed2micvoicec",
        "dtoverlay=respeaker-2mic-v2_0,a,b=0x1a",
    ],
)
def test_lines_for_the_firmware(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))
    (tmp_path / "mine.toml").write_text(f'name = "Mine"\nconfig_txt = ["{line}"]\n')
    assert board.load("mine").config_txt == (line,)


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
    parts |= {"found_by": board.FoundBy, "mixer": board.Setting}
    keys = [f"{part}.{key}" for part, struct in parts.items() for key in struct.__struct_fields__]
    keys += [key for key in board.Board.__struct_fields__ if key not in parts]
    assert [key for key in keys if f"`{key}`" not in text] == []
