"""What the appliance shows, sounds and says is in docs/troubleshooting.md; the settings that pages advise are taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.conversation.effects import Sound
from appliance.conversation.lines import TEXTS, Line
from appliance.conversation.state import Led
from appliance.first_boot import changes, wishes
from appliance.first_boot.text import Text
from appliance.panel.indicator import _PATTERNS
from tests import flashing_pictures, signals
from tests.first_boot.machine import Machine

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text("utf-8")
DARK = {Led.OFF, Led.IDLE}


def chapter(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def entries(title: str) -> dict[str, tuple[str, str, str]]:
    """Of each picture in a chapter its heading, its words for who cannot see it, and what follows."""
    found = re.findall(r"\n### (.+)\n\n!\[(.*)\]\(pictures/[a-z]+-([a-z-]+)\.svg\)\n\n(.+)", chapter(title))
    assert len(found) == chapter(title).count("![")
    return {name: (heading, alt, text) for heading, alt, name, text in found}


def test_every_light_has_its_entry() -> None:
    assert set(entries("By its light")) == {led.value for led in Led}


@pytest.mark.parametrize("led", Led)
def test_an_entry_names_the_word_the_colour_and_the_rhythm_of_the_light(led: Led) -> None:
    heading, alt, text = entries("By its light")[led.value]
    assert text.startswith(f"*{led.value}*")
    assert alt == signals.told(led)
    assert led in DARK or heading.endswith(f" · {signals.colour(led)}")


@pytest.mark.parametrize("led", [led for led in Led if led is not Led.IDLE])
def test_for_every_light_but_idle_there_is_something_to_do(led: Led) -> None:
    assert "**Do:** " in entries("By its light")[led.value][2]


def test_every_tone_has_its_entry() -> None:
    found = entries("By its tones")
    assert set(found) == {sound.value for sound in Sound}
    for sound in Sound:
        assert found[sound.value][1] == signals.melody(sound)
        assert found[sound.value][2].startswith(f"*{sound.value}*")


def test_every_sentence_has_its_row_with_a_cause_and_a_remedy() -> None:
    rows = re.findall(r"^\| “(.+)” \| (.+) \| (.+) \|$", chapter("By its sentences"), re.MULTILINE)
    assert sorted(said for said, _, _ in rows) == sorted(TEXTS[line] for line in Line)


@pytest.mark.parametrize("led", Led)
def test_the_rhythm_in_words_lasts_as_long_as_the_pattern(led: Led) -> None:
    told = signals.rhythm(led)
    if "all the time" not in told:
        lasts_s = sum(map(float, re.findall(r"[0-9.]+", told)))
        assert lasts_s == pytest.approx(_PATTERNS[led].corners[-1][0])


def test_the_settings_in_the_picture_are_taken(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    wished = wishes.read(Text(flashing_pictures.SETTINGS), machine.places)
    assert [(wifi.name, wifi.password) for wifi in wished.wifi] == [("Home", "correct horse")]
    assert wished.host_name == "kitchen"
    assert wished.settings == {"provisioning": {"url": "http://192.168.1.10:8787"}}


def test_every_number_in_the_picture_of_the_settings_is_explained() -> None:
    step = (DOCS / "flashing.md").read_text("utf-8").split("\n## 3 · ")[1].split("\n## ")[0]
    explained = [int(number) for number in re.findall(r"^(\d+)\. ", step, re.MULTILINE)]
    assert explained == sorted(flashing_pictures.NUMBERED.values())


@pytest.mark.parametrize("page", ["flashing.md", "troubleshooting.md"])
def test_settings_that_a_page_advises_are_taken(page: str, tmp_path: Path) -> None:
    text = (DOCS / page).read_text("utf-8")
    advised = re.findall(r"`\[(\w+)\] (\w+ = [^`…]+)`", text) + re.findall(r"```toml\n\[(\w+)\]\n(.+)\n```", text)
    assert advised
    places = Machine(tmp_path).places
    for section, line in advised:
        assert changes.plan(wishes.read(Text(f"[{section}]\n{line}\n"), places), places)
