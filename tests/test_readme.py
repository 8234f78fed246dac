"""The README tells the truth where a machine can check it: keys, defaults, commands, links, LED words."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import msgspec
import pytest

from appliance import cli, config
from appliance.conversation.state import Led

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "hardware" / "README.md", *ROOT.glob("docs/**/*.md")])
ROW = re.compile(r"^\| `([a-z_.]+)` \| (.+?) \| ", re.MULTILINE)
PROSE = {"realtime.instructions"}  # defaults too long for a table
BY_BOARD = {"audio.capture", "audio.playback", "audio.microphones"}


def defaults() -> dict[str, object]:
    found: dict[str, object] = {}
    for section, value in msgspec.to_builtins(config.Config()).items():
        if isinstance(value, dict):
            found |= {f"{section}.{key}": inner for key, inner in value.items()}
        else:
            found[section] = value
    return found


def rows() -> dict[str, str]:
    section = README.split("## Configuration")[1].split("\n## ")[0]
    return dict(ROW.findall(section))


def test_every_key_is_in_the_table_and_no_other() -> None:
    assert set(rows()) == set(defaults())


@pytest.mark.parametrize("key", sorted(set(defaults()) - PROSE))
def test_defaults_are_those_of_the_code(key: str) -> None:
    expected = "board" if key in BY_BOARD else f"`{msgspec.json.encode(defaults()[key]).decode()}`"
    assert rows()[key] == expected


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_subcommands_exist(page: Path) -> None:
    known = subcommands(cli.parser())
    ctl = subcommands(known["ctl"])
    text = page.read_text()
    named = set(re.findall(r"(?:`|\$ (?:sudo )?(?:\S*/)?)voice-appliance ([a-z-]+)", text))
    assert named <= set(known)
    assert set(re.findall(r"(?:`|voice-appliance )ctl ([a-z]+)", text)) <= set(ctl)
    if page.name == "README.md" and page.parent == ROOT:
        assert {"enrol", "check", "devices", "calibrate", "ctl", "reset"} <= named


def test_every_word_of_the_light_is_explained() -> None:
    section = README.split("## The light")[1].split("\n## ")[0]
    rhythms = [
        line.strip("| *").split("|")[0].split(":")[0].strip(" *")
        for line in section.splitlines()
        if line.startswith("|")
    ]
    assert {led.value for led in Led} - {"off"} <= set(rhythms)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor and there.suffix == ".md":
            assert anchor in headings(there), f"{page.name}: {target}"


def headings(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) < 350
