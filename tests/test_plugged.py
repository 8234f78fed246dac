"""Which board a machine is found to have. A new board is one file in hardware/ and one row of ``MACHINES``."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance import board, config, plugged
from appliance.errors import ConfigError
from tests.command import call
from tests.machines import (
    AIC3X,
    BLACK_ZERO,
    CODEC_ZERO,
    DONGLE,
    JACK,
    PI,
    USB,
    VOICE_BONNET,
    VOICE_HAT,
    WM8960,
    ZERO,
    Machine,
    SoundCard,
)
from tests.test_boards import HARDWARE, PROFILES

RESPEAKER = SoundCard("seeed2micvoicec", WM8960)
BONNET = SoundCard("aiyvoicebonnet", "AIY Voice Bonnet rt5645-aif1-0")
ARRAY = SoundCard("Array", USB, usb="2886:001a")

# The board, a machine that has it, and the word that says why it was recognised.
MACHINES = [
    ("respeaker-2mic", Machine((*PI, RESPEAKER)), "wm8960"),
    ("respeaker-2mic-v2", Machine((*PI, SoundCard("seeed2micvoicec", AIC3X))), "tlv320aic3x"),
    ("respeaker-4mic", Machine((JACK, *PI, SoundCard("seeed4micvoicec", "ac108-codec0", ways="capture 1"))), "seeed4"),
    ("respeaker-xvf3800", Machine((*PI, ARRAY)), "2886:001a"),
    ("respeaker-usb-4mic", Machine((*PI, SoundCard("ArrayUAC10", USB, usb="2886:0018"))), "2886:0018"),
    ("aiy-voice-v2", Machine((*PI, BONNET), VOICE_BONNET), "EEPROM"),
    ("aiy-voice-v2", Machine((*PI, BONNET)), "aiyvoicebonnet"),
    ("codec-zero", Machine((*PI, ZERO), CODEC_ZERO), "Raspberry Pi Codec Zero"),
    ("codec-zero", Machine((*PI, ZERO), BLACK_ZERO), "Pi-CodecZero"),
    ("i2s-mems", Machine((SoundCard("sndrpigooglevoi", "Google voiceHAT SoundCard HiFi voicehat-hifi-0"),)), "sndrpi"),
    ("i2s-mems", Machine(PI, VOICE_HAT), "audioHAT"),
    ("usb", Machine((*PI, DONGLE)), "the only USB card"),
]
# These are not found by themselves, and why.
NAMED_ONLY = {
    "adafruit-voice-bonnet": "it looks like respeaker-2mic",
    "any": "what is taken when nothing was found",
    "virtual": "only tests have it",
}


@pytest.fixture(autouse=True)
def _shipped_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(HARDWARE))


def found(machine: Machine, directory: Path) -> plugged.Choice:
    return plugged.choose(plugged.look(machine.root(directory)))


def test_every_board_has_a_machine_or_a_reason() -> None:
    assert {name for name, _, _ in MACHINES} | set(NAMED_ONLY) == set(PROFILES)
    for name in NAMED_ONLY:
        assert board.load(name).found_by == board.FoundBy()


@pytest.mark.parametrize(("name", "machine", "word"), MACHINES)
def test_a_board_is_found(name: str, machine: Machine, word: str, tmp_path: Path) -> None:
    choice = found(machine, tmp_path)
    assert (choice.name, choice.sure) == (name, True)
    assert word in choice.why


def test_what_fits_as_well_is_named(tmp_path: Path) -> None:
    assert "adafruit-voice-bonnet" in found(Machine((RESPEAKER,)), tmp_path).others


def test_an_eeprom_without_its_card_says_which_card_is_missing(tmp_path: Path) -> None:
    choice = found(Machine(PI, CODEC_ZERO), tmp_path)
    assert (choice.name, choice.missing) == ("codec-zero", "Zero")
    assert "rpi-codeczero" in " ".join(choice.board.config_txt)


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(), ["no known board was found"]),
        (Machine(PI), ["no known board was found"]),
        (Machine((JACK,), {"vendor": "Somebody", "product_id": "0x0001", "product": "Clock"}), ["no known board"]),
        (Machine((SoundCard("seeed2micvoicec", "unheard-of-hifi"),)), ["no known board was found"]),
        (Machine((RESPEAKER, ARRAY)), ["respeaker-2mic or respeaker-xvf3800"]),
        (Machine((ZERO, ARRAY), CODEC_ZERO), ["codec-zero or respeaker-xvf3800"]),
        (Machine((DONGLE, SoundCard("S330", USB, usb="291a:3302"))), ["2 USB cards", "Device, S330"]),
        (Machine((SoundCard("Webcam", USB, usb="046d:0825", ways="capture 1"),)), ["no known board was found"]),
    ],
)
def test_nothing_or_too_much_falls_to_the_default_card(machine: Machine, words: list[str], tmp_path: Path) -> None:
    choice = found(machine, tmp_path)
    assert (choice.name, choice.sure) == (plugged.FALLBACK, False)
    for word in (*words, "board = "):
        assert word in choice.why


def test_a_known_board_is_preferred_to_some_usb_card(tmp_path: Path) -> None:
    assert found(Machine((RESPEAKER, DONGLE)), tmp_path).name == "respeaker-2mic"


def test_a_usb_card_is_used_by_the_name_that_alsa_gave_it(tmp_path: Path) -> None:
    taken = SoundCard("Array", "Kinect", usb="045e:02bb", ways="capture 1")
    second = SoundCard("Array_1", USB, usb="2886:001a")
    choice = found(Machine((taken, second)), tmp_path / "two")
    assert choice.board.capture.device == choice.board.playback.device == "plughw:CARD=Array_1,DEV=0"
    choice = found(Machine((SoundCard("S330", USB, usb="291a:3302"),)), tmp_path / "any")
    assert (choice.name, choice.board.capture.device) == ("usb", "plughw:CARD=S330,DEV=0")


def test_a_proc_that_cannot_be_read_is_no_hardware(tmp_path: Path) -> None:
    asound = tmp_path / "proc/asound"
    (asound / "cards").mkdir(parents=True)  # reading it is EISDIR, as a stranger's file is EACCES
    (asound / "pcm").write_bytes(b"\xff\xfe")
    assert plugged.look(tmp_path) == plugged.Plugged()


def test_a_board_of_ones_own_is_found_and_wins_over_a_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.toml").write_text('name = "Mine"\n[found_by]\nusb = ["1234:abcd"]\n')
    (own / "respeaker-2mic.toml").write_text('name = "Changed"\n[found_by]\ncard = ["seeed2micvoicec"]\n')
    monkeypatch.setattr(board, "folders", lambda: [own, HARDWARE])
    assert found(Machine((SoundCard("Odd", USB, usb="1234:abcd"),)), tmp_path / "one").name == "mine"
    choice = found(Machine((RESPEAKER,)), tmp_path / "other")
    assert (choice.name, choice.board.name) == ("respeaker-2mic", "Changed")


def test_a_broken_profile_counts_only_where_it_could_be_the_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "broken.toml").write_text('found_by = "Array"')
    monkeypatch.setattr(board, "folders", lambda: [own, HARDWARE])
    assert found(Machine((RESPEAKER,)), tmp_path / "one").name == "respeaker-2mic"
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        found(Machine((ARRAY,)), tmp_path / "other")


# --- in the configuration ---


@pytest.mark.parametrize("text", ["", 'board = "auto"\n'])
def test_the_configuration_takes_the_board_that_is_plugged_in(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugged, "ROOT", Machine((*PI, RESPEAKER)).root(tmp_path / "root"))
    path = tmp_path / "appliance.toml"
    path.write_text(f'{text}[audio]\nplayback = "hw:other"\n')
    loaded = config.load(path)
    assert loaded.config.board == "respeaker-2mic"
    assert (loaded.config.audio.capture, loaded.config.audio.playback) == (
        "plughw:CARD=seeed2micvoicec,DEV=0",
        "hw:other",
    )
    assert loaded.chosen is not None
    assert loaded.chosen.sure
    (line,) = (line for line in config.show(loaded) if line.startswith("board ="))
    assert line == 'board = "respeaker-2mic"  # auto: there is a card seeed2micvoicec with a wm8960'


def test_a_named_board_always_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugged, "ROOT", Machine((*PI, RESPEAKER)).root(tmp_path / "root"))
    path = tmp_path / "appliance.toml"
    path.write_text('board = "adafruit-voice-bonnet"\n')
    loaded = config.load(path)
    assert (loaded.config.board, loaded.chosen) == ("adafruit-voice-bonnet", None)


def test_devices_says_what_it_would_choose_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugged, "ROOT", Machine((*PI, RESPEAKER)).root(tmp_path / "root"))
    path = tmp_path / "appliance.toml"
    path.write_text("")
    said = call("devices", "--config", str(path)).stdout
    assert "found:         respeaker-2mic: there is a card seeed2micvoicec with a wm8960\n" in said
    assert "the cards of adafruit-voice-bonnet are there, too\n" in said
    assert f"configured:    auto, so respeaker-2mic ({path})\n" in said
    monkeypatch.setattr(plugged, "ROOT", Machine(PI, CODEC_ZERO).root(tmp_path / "zero"))
    said = call("devices", "--config", str(path)).stdout
    assert "HAT EEPROM:    Raspberry Pi Ltd. 0x0101 Raspberry Pi Codec Zero\n" in said
    assert "but ALSA has no card Zero; its driver: Raspberry Pi's kernel has it" in said
