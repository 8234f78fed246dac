"""Loading: whatever the file holds, it either loads or one line says which key, which value, and what to do."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance import board, config
from appliance.config import Config, Loaded, load, show
from appliance.errors import EXIT_CONFIG, ConfigError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "appliance.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    assert caught.value.hint, text
    assert caught.value.exit_code == EXIT_CONFIG
    return text


def attempt(path: Path) -> Loaded | ConfigError:
    """Load; anything but a ConfigError escapes and fails the test."""
    try:
        return load(path)
    except ConfigError as error:
        return error


# --- any document ---


class Raw(str):
    """TOML as it is to be written."""

    __slots__ = ()


SECTIONS = [part for part in msgspec.structs.fields(Config) if part.name != "board"]
KEYS = [*(part.name for part in msgspec.structs.fields(Config))]
KEYS += [inner.name for part in SECTIONS for inner in msgspec.structs.fields(part.type)]
keys = st.sampled_from(KEYS) | st.text(max_size=8)
scalars = (
    st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63), 10**400, 0, 1, 350])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["virtual", "aec3", "none", "local", "inf", "gpio", ""])
    | st.datetimes().map(lambda at: Raw(at.isoformat()))
    | st.dates().map(lambda at: Raw(at.isoformat()))
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)


def toml(value: Any) -> str:
    """Write a value as inline TOML."""
    match value:
        case Raw():
            return str(value)
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + "}"
        case _:
            return repr(value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=st.dictionaries(keys, values | st.dictionaries(keys, values, max_size=4), max_size=4))
def test_any_document_loads_or_is_refused_in_one_line(document: dict[str, Any], write: Write) -> None:
    path = write("".join(f"{toml(key)} = {toml(value)}\n" for key, value in document.items()))
    loaded = attempt(path)
    if isinstance(loaded, ConfigError):
        line = str(loaded)
        assert len(line.splitlines()) == 1
        assert loaded.hint
        named, _, _ = line.partition(" = ")
        assert any(key in named or repr(key)[:10] in named for key in document) or "not TOML" in line
        assert len(line) < 500
    else:
        for line in show(loaded):
            assert len(line.splitlines()) == 1
            key, _, origin = line.partition(" = ")
            auto = f"auto: {loaded.chosen.why}" if loaded.chosen else ""
            assert origin.rpartition("  # ")[2] in ("default", str(path), f"board {loaded.config.board}", auto), key


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(string.printable, max_size=60).map(str.encode))
def test_any_bytes_load_or_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_bytes(content)
    assert len(str(attempt(path)).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    ["x = " + "[" * 5000, "x = " + "1" * 5000, "x = 2020-13-41", "\x00", 'a = "\udcff"'.encode("utf-8", "replace")],
)
def test_nasty_toml_is_refused(text: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    refusal(path)


# --- refusals say what to do ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[audio]\nvolum = 3", ["audio.volum = 3", "did you mean audio.volume?"]),
        ("[Audio]\nvolume = 3", ["Audio = ", "did you mean audio?"]),
        ("volume = 3", ["volume = 3", "known here: board, conversation, audio"]),
        ("audio = 5", ["audio = 5", "a table"]),
        ("[audio]\nvolume = 300", ["audio.volume = 300", "<= 100"]),
        ("[audio]\nvolume = true", ["audio.volume = True", "`int`"]),
        ("[audio]\nmicrophones = [0, 'left']", ["audio.microphones = [0, 'left']", "`int`"]),
        ("[audio]\nmicrophones = [0, 64]", ["audio.microphones = [0, 64]", "<= 63"]),
        ('[audio]\ndetector = "ear"', ["audio.detector = 'ear'", 'choose one of "earshot", "webrtc"']),
        ('[realtime]\nmax_output_tokens = "all"', ["realtime.max_output_tokens = 'all'", '"inf"']),
        ("[conversation]\nfollow_up_s = nan", ["conversation.follow_up_s = nan", ">= 0"]),
        ("[state]\ndirectory = ''", ["state.directory = ''", "length >= 1"]),
        ('[control]\nsocket = "a\\u0000b"', ["control.socket = 'a\\x00b'", "matching"]),
        ('board = "virtal"', ["board = 'virtal'", "did you mean 'virtual'?"]),
        ('"two\\nlines" = 1', ["'two\\nlines' = 1"]),
        ("[conversation]\nhold_ms = 35.5", ["conversation.hold_ms = 35.5"]),
    ],
)
def test_a_refusal_names_key_value_and_remedy(text: str, words: list[str], write: Write) -> None:
    line = refusal(write(text))
    for word in words:
        assert word in line


def test_a_secret_in_the_wrong_place_is_not_quoted(write: Write) -> None:
    for text in ('api_key = "abcdefgh"', '[provisioning]\nenrolment_token = "abcdefgh"', 'Password = ["abcdefgh"]'):
        assert "abcdefgh" not in refusal(write(text))


def test_a_long_value_is_shortened(write: Write) -> None:
    line = refusal(write(f"board = '{'x' * 5000}'\n[audio]\nvolume = '{'y' * 5000}'"))
    assert len(line) < 300


def test_absent_and_unreadable_files_are_told(tmp_path: Path) -> None:
    assert "--config" in refusal(tmp_path / "none.toml")
    assert "directory" in refusal(tmp_path)
    assert "File name too long" in refusal(tmp_path / ("x" * 300))


def test_a_mark_of_a_windows_editor_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf[audio]\r\nvolume = 7\r\n")
    assert load(path).config.audio.volume == 7


# --- merging ---


@pytest.fixture
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "boards"
    folder.mkdir()
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(folder))
    (folder / "mine.toml").write_text(
        'name = "Mine"\n[capture]\ndevice = "hw:in"\nchannels = 4\nmicrophones = [1, 3]\n'
        '[playback]\ndevice = "hw:out"\n'
    )
    return folder


def test_the_board_fills_what_the_file_leaves_open(boards: Path, write: Write) -> None:
    del boards
    path = write('board = "mine"\n[audio]\nplayback = "hw:other"\ncapture = ""\nvolume = 20\n')
    loaded = load(path)
    audio = loaded.config.audio
    assert (audio.capture, audio.playback, audio.microphones, audio.volume) == ("hw:in", "hw:other", (1, 3), 20)
    assert {key: loaded.origin[key] for key in loaded.origin if key.startswith("audio.")} == {
        "audio.capture": "board mine",  # an empty name means: as the board says
        "audio.playback": str(path),
        "audio.microphones": "board mine",
        "audio.volume": str(path),
        "audio.cues": "default",
        "audio.echo_canceller": "default",
        "audio.detector": "default",
    }
    assert f"audio.volume = 20  # {path}" in show(loaded)
    assert 'audio.capture = "hw:in"  # board mine' in show(loaded)


def test_every_key_has_a_line_and_an_origin(write: Write) -> None:
    loaded = load(write(""))
    shown = {line.split(" = ")[0] for line in show(loaded)}
    assert shown == set(loaded.origin)
    assert len(shown) == 1 + sum(len(msgspec.structs.fields(part.type)) for part in SECTIONS)


def test_the_owners_boards_come_first(boards: Path, write: Write) -> None:
    (boards / "virtual.toml").write_text('name = "Overridden"\n')
    assert load(write('board = "virtual"')).board.name == "Overridden"
    assert "mine" in board.names()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name = 5",
        'name = "x"\nfoo = 1',
        'name = "x"\n[capture]\nrate = 1',
        'name = "x"\n[light]\npins = [1, 2]',
        "[",
        "x = " + "[" * 5000,
        "x = " + "1" * 5000,
    ],
)
def test_a_bad_board_profile_is_refused_by_its_path(text: str, boards: Path, write: Write) -> None:
    (boards / "bad.toml").write_text(text)
    assert str(boards / "bad.toml") in refusal(write('board = "bad"'))


def test_boards_that_cannot_be_looked_for_are_told(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", "/" + "x" * 300)
    assert "File name too long" in refusal(write(""))


@pytest.mark.parametrize("name", board.names())
def test_every_shipped_board_loads(name: str, write: Write) -> None:
    loaded = load(write(f'board = "{name}"'))
    assert loaded.config.audio.microphones
    assert max(loaded.config.audio.microphones) < loaded.board.capture.channels
    assert loaded.config.audio.capture
    assert loaded.config.audio.playback


def test_the_default_path_can_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOICE_APPLIANCE_CONFIG", raising=False)
    assert config.default_path() == config.DEFAULT_PATH
    monkeypatch.setenv("VOICE_APPLIANCE_CONFIG", "/x/y.toml")
    assert config.default_path() == Path("/x/y.toml")
