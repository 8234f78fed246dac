"""The boards' mixer settings, made through ALSA's own mixer on the elements that the codecs' drivers have."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance import board
from appliance.audio import alsa, mixer
from appliance.board import Board, Capture, Playback, Setting
from appliance.config import Audio
from tests import codecs
from tests.fakes.card.mixer import Control, VirtualMixer
from tests.test_boards import HARDWARE, PROFILES
from tests.test_plugged import MACHINES

CONTROLS = {  # by a word of what /proc/asound/pcm says of the codec
    "wm8960": codecs.WM8960,
    "tlv320aic3x": codecs.AIC3X,
    "ac108": codecs.AC108,
    "da7213": codecs.DA7212,
    "rt5645": codecs.RT5645,
}
WITH_MIXER = [name for name in PROFILES if 'control = "' in (HARDWARE / f"{name}.toml").read_text()]
CARD = "plughw:CARD=mine,DEV=0"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(HARDWARE))
    alsa.be_quiet()


def controls_of(profile: Board) -> tuple[Control, ...]:
    """The elements of the card that the profile's settings are of."""
    cards = {card for _, machine, _ in MACHINES for card in machine.cards if card.name in profile.capture.device}
    words = {
        word for card in cards for word in CONTROLS if word in card.device and profile.found_by.codec in card.device
    }
    words -= {"tlv320aic3x"} if "WM8960" in " ".join(profile.header.values()) else set()
    (word,) = words
    return CONTROLS[word]


def audio_of(profile: Board) -> Audio:
    return Audio(capture=profile.capture.device, playback=profile.playback.device)


def mixer_for(profile: Board, directory: Path, monkeypatch: pytest.MonkeyPatch) -> VirtualMixer:
    device = profile.mixer and mixer.settings_of(profile, audio_of(profile))[0][0]
    made = VirtualMixer(directory, str(device).removeprefix("hw:CARD="), controls_of(profile))
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.mark.parametrize("name", WITH_MIXER)
def test_every_setting_of_a_board_is_one_that_its_codec_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = board.load(name)
    made = mixer_for(profile, tmp_path, monkeypatch)
    before = made.values()
    assert mixer.make(profile, audio_of(profile)) == ""
    values = made.values()
    touched = {element for element in values if values[element] != before[element]}
    for setting in profile.mixer:
        way = setting.direction.capitalize()
        volumes = [f"{setting.control}{end}" for end in ("", " Volume", f" {way} Volume")]
        switches = [f"{setting.control}{end}" for end in (" Switch", f" {way} Switch")]
        if setting.volume is not None:
            (element,) = (element for element in volumes if element in values)
            assert set(values[element]) == {setting.volume}, element
        if setting.on is not None:
            (element,) = (element for element in switches if element in values)
            assert set(values[element]) == {int(setting.on)}, element
        if setting.choice is not None:
            assert values[setting.control] == setting.choice
        touched -= {*volumes, *switches, setting.control}
    assert touched == set(), "nothing else was changed"


def test_what_cannot_be_set_is_one_line_and_keeps_nothing_else_from_being_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = (
        Setting(control="Gone", on=True),
        Setting(control="Speaker", volume=200),
        Setting(control="Route", choice="Moon"),
        Setting(control="Speaker", on=True),
        Setting(control="Speaker", volume=100),
    )
    profile = Board(name="Mine", capture=Capture(device=CARD), playback=Playback(device=CARD), mixer=wanted)
    elements = [Control("Speaker Playback Volume", 127, 2), Control("Route", items=("Sun", "Stars"))]
    made = VirtualMixer(tmp_path, "mine", elements)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    trouble = mixer.make(profile, audio_of(profile))
    assert len(trouble.splitlines()) == 1
    for word in ("'Gone'", "hw:CARD=mine", "amixer scontrols", "(and 3 more)", "board profile"):
        assert word in trouble
    assert made.values()["Speaker Playback Volume"] == (100, 100)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (Setting(control="Speaker", volume=128), ["cannot be 128", "from 0 to 127"]),
        (Setting(control="Speaker", volume=-1), ["cannot be -1"]),
        (Setting(control="Route", choice="Moon"), ["cannot be 'Moon'", "it offers Sun, Stars"]),
        (Setting(control="Speaker", choice="Moon"), ["'Speaker'"]),
        (Setting(control="Speaker", on=False), ["no playback switch", "amixer scontents"]),
        (Setting(control="Speaker", direction="capture", on=True), ["no record switch"]),
    ],
)
def test_a_refusal_names_the_control_and_what_it_could_be(
    setting: Setting, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Board(name="Mine", capture=Capture(device=CARD), playback=Playback(device=CARD), mixer=(setting,))
    elements = [Control("Speaker Playback Volume", 127, 2), Control("Route", items=("Sun", "Stars"))]
    made = VirtualMixer(tmp_path, "mine", elements)
    before = made.values()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    trouble = mixer.make(profile, audio_of(profile))
    for word in words:
        assert word in trouble
    assert made.values() == before


def test_without_the_card_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = VirtualMixer(tmp_path, "another", [])
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    profile = board.load("respeaker-2mic")
    trouble = mixer.make(profile, audio_of(profile))
    assert "'Left Output Mixer PCM' of hw:CARD=seeed2micvoicec: No such file" in trouble
    assert f"(and {len(profile.mixer) - 1} more)" in trouble
    assert not mixer.there(profile, audio_of(profile))
    VirtualMixer(tmp_path, "seeed2micvoicec", [])
    assert mixer.there(profile, audio_of(profile)), "what it lacks is no reason to look for it"


def test_the_mixer_of_a_card_that_is_not_the_boards_is_left_alone() -> None:
    profile = board.load("respeaker-2mic")
    elsewhere = Audio(capture=profile.capture.device, playback="plughw:CARD=S330,DEV=0")
    assert {setting.direction for _, setting in mixer.settings_of(profile, elsewhere)} == {"capture"}
    assert mixer.settings_of(profile, Audio(capture="file:a.wav", playback="file:b.wav")) == []
    assert mixer.make(profile, Audio(capture="file:a.wav", playback="file:b.wav")) == ""
    short = Audio(capture="plughw:seeed2micvoicec,0", playback="hw:seeed2micvoicec")
    assert mixer.settings_of(profile, short) == mixer.settings_of(profile, audio_of(profile))
    other_device = Audio(capture=profile.capture.device, playback="dmix:CARD=seeed2micvoicec,DEV=0")
    assert len(mixer.settings_of(profile, other_device)) == len(profile.mixer)
