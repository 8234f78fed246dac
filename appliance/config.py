"""The configuration: defaults in code, then the board's profile, then the owner's file.

Responsible for: the keys, their meaning and limits, loading, and saying where each value came from. Not for:
probing whether a named device exists (``cli check`` does). Secrets are never configuration values: they come
as files through systemd's credentials.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, field

from appliance import board as board_profile
from appliance import pins, plugged
from appliance.board import Board
from appliance.errors import ConfigError

T = TypeVar("T", bound=Struct)

DEFAULT_PATH = Path("/etc/voice-appliance/appliance.toml")
AUTO = "auto"  # the board that is plugged in
DEFAULT = "default"  # the origin of what nobody wrote down
FROM_BOARD = ("capture", "playback", "microphones")  # of [audio], where the file names none
DEFAULT_INSTRUCTIONS = (
    "You are a friendly voice assistant that lives in a small speaker. Answer in one to three short spoken "
    "sentences. Say plainly when you do not know something."
)

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
FileName = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00]*$")]
LONGEST_SHOWN = 60  # characters of a value in an error
SECRETIVE = re.compile("key|secret|token|password", re.IGNORECASE)


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the configuration file: unknown keys are refused."""


class Conversation(Section, frozen=True, kw_only=True):
    """How turns begin and end."""

    hold_ms: Annotated[int, Meta(ge=150, le=2000)] = 350
    follow_up_s: Annotated[float, Meta(ge=0, le=60)] = 8.0
    hands_free: bool = False
    barge_in: bool = True
    listen_s: Annotated[float, Meta(ge=5, le=600)] = 60.0
    think_s: Annotated[float, Meta(ge=5, le=300)] = 20.0
    end_of_turn_ms: Annotated[int, Meta(ge=200, le=3000)] = 700


class Audio(Section, frozen=True, kw_only=True):
    """Which sound card, and what is done to its sound. Empty names mean: as the board says."""

    capture: str = ""
    playback: str = ""
    microphones: tuple[Annotated[int, Meta(ge=0, le=63)], ...] = ()
    volume: Annotated[int, Meta(ge=0, le=100)] = 80
    cues: bool = True
    echo_canceller: Literal["aec3", "none"] = "aec3"
    detector: Literal["earshot", "webrtc"] = "earshot"


class Realtime(Section, frozen=True, kw_only=True):
    """What is asked of the Realtime session."""

    model: Annotated[str, Meta(min_length=1)] = "gpt-realtime-1.5"
    voice: Annotated[str, Meta(min_length=1)] = "marin"
    instructions: str = DEFAULT_INSTRUCTIONS
    turn_detection: Literal["local", "server_vad", "semantic_vad"] = "local"
    output: Literal["audio", "text"] = "audio"
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] = 1.0
    noise_reduction: Literal["none", "near_field", "far_field"] = "none"
    captions: str = ""
    max_output_tokens: Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"] = "inf"
    keep_warm_s: Seconds = 240.0
    session_limit_s: Annotated[float, Meta(ge=10, le=86_400)] = 3600.0
    open_timeout_s: Annotated[float, Meta(ge=1, le=60)] = 10.0
    ping_interval_s: Annotated[float, Meta(ge=1, le=600)] = 20.0
    ping_timeout_s: Annotated[float, Meta(ge=1, le=600)] = 30.0


class Provisioning(Section, frozen=True, kw_only=True):
    """Who mints the session credentials. An enrolment token is read from a file, never from here."""

    url: str = ""
    profile: str = "default"
    enrolment_token_file: str = ""


class Panel(Section, frozen=True, kw_only=True):
    """Button and light."""

    backend: Literal["gpio", "terminal", "none"] = "gpio"


class Control(Section, frozen=True, kw_only=True):
    """The local control socket."""

    socket: FileName = "/run/voice-appliance/control.sock"


class State(Section, frozen=True, kw_only=True):
    """Where identity and settings that must survive live."""

    directory: FileName = "/var/lib/voice-appliance"


class Update(Section, frozen=True, kw_only=True):
    """Where updates of the whole system come from, on a card image."""

    url: str = ""
    channel: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}\Z")] = "stable"
    automatic: bool = True
    hours: Annotated[str, Meta(pattern=r"^(([01][0-9]|2[0-3])-([01][0-9]|2[0-3]))?\Z")] = ""


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration."""

    board: str = AUTO
    conversation: Conversation = field(default_factory=Conversation)
    audio: Audio = field(default_factory=Audio)
    realtime: Realtime = field(default_factory=Realtime)
    provisioning: Provisioning = field(default_factory=Provisioning)
    panel: Panel = field(default_factory=Panel)
    control: Control = field(default_factory=Control)
    state: State = field(default_factory=State)
    update: Update = field(default_factory=Update)


class Loaded(Struct, frozen=True):
    """A configuration with its board and the origin of every value, by dotted key.

    ``config.board`` names the board even where the file says "auto"; ``chosen`` then tells what was found, of ``seen``.
    """

    config: Config
    board: Board
    origin: dict[str, str]
    path: Path
    chosen: plugged.Choice | None = None
    seen: plugged.Plugged | None = None


def default_path() -> Path:
    """Name the configuration file: ``VOICE_APPLIANCE_CONFIG`` or the system's."""
    return Path(os.environ.get("VOICE_APPLIANCE_CONFIG", DEFAULT_PATH))


def load(path: Path) -> Loaded:
    """Read, check and merge the configuration file with its board profile.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key, a value out of its bounds, or an unknown board; the
            text names key, value and remedy.
    """
    return judge(read_toml(path), path)


def judge(raw: dict[str, object], path: Path) -> Loaded:
    """Check and merge what stands in a configuration file, or would stand there, with its board profile.

    Raises:
        ConfigError: as :func:`load`.
    """
    refuse_unknown(raw, Config, "", path)
    config = convert(raw, Config, path)
    for name, url in (("provisioning", config.provisioning.url), ("update", config.update.url)):
        try:
            pins.parse(url)
        except ValueError as error:
            raise ConfigError(f"{path}: {name}.url = {_shown(url)}", hint=str(error)) from None
    origin = dict.fromkeys(_keys(raw), f"{path}")
    origin = dict.fromkeys(_keys(msgspec.to_builtins(config)), DEFAULT) | origin
    chosen = seen = None
    if config.board == AUTO:
        seen = plugged.look()
        chosen = plugged.choose(seen)
        name, board, origin["board"] = chosen.name, chosen.board, f"auto: {chosen.why}"
    else:
        name, board = config.board, board_profile.load(config.board)
    merged = _with_board(config, name, board)
    board_profile.check_reference(board, merged.audio.microphones, f"{path}: audio.microphones")
    origin |= {f"audio.{key}": f"board {name}" for key in FROM_BOARD if not getattr(config.audio, key)}
    return Loaded(merged, board, origin, path, chosen, seen)


def _with_board(config: Config, name: str, board: Board) -> Config:
    audio = msgspec.structs.replace(
        config.audio,
        capture=config.audio.capture or board.capture.device,
        playback=config.audio.playback or board.playback.device,
        microphones=config.audio.microphones or board.capture.microphones,
    )
    return msgspec.structs.replace(config, board=name, audio=audio)


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file.

    Raises:
        ConfigError: absent, unreadable, or not TOML (with line and column).
    """
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))  # editors on Windows put a mark in front
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="name the configuration with --config") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="make the configuration readable") from error
    except RecursionError:
        raise ConfigError(f"{path}: not TOML: nested too deeply", hint="correct that line") from None
    except ValueError as error:  # of the syntax, the encoding, or a number of thousands of digits
        raise ConfigError(f"{path}: not TOML: {error}", hint="correct that line") from error


def refuse_unknown(raw: object, struct: type[Struct], prefix: str, path: Path) -> None:
    """Refuse keys that ``struct`` does not have, naming the nearest one that it has.

    Raises:
        ConfigError: an unknown key.
    """
    if not isinstance(raw, dict):
        return
    known = {f.name: f.type for f in msgspec.structs.fields(struct)}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known here: {', '.join(known)}"
            name = prefix + (key if re.fullmatch("[A-Za-z0-9_-]{1,60}", key) else _shown(key))
            # People try to put secrets here, and this line ends up in the journal.
            shown = "…" if SECRETIVE.search(key) else _shown(value)
            raise ConfigError(f"{path}: unknown key {name} = {shown}", hint=hint)
        inner = known[key]
        if isinstance(inner, type) and issubclass(inner, Struct):
            refuse_unknown(value, inner, f"{prefix}{key}.", path)


def convert(raw: dict[str, object], struct: type[T], path: Path) -> T:
    """Turn parsed TOML into ``struct``.

    Raises:
        ConfigError: a wrong type or a value out of bounds, with key, value and what is expected.
    """
    try:
        return msgspec.convert(raw, struct)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`").partition("[")[0]  # of a list the whole is named
        value: object = raw
        kind: object = struct
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else value
            kind = _field_type(kind, part)
        raise ConfigError(f"{path}: {key} = {_shown(value)}", hint=_remedy(what, kind)) from error


def _field_type(kind: object, name: str) -> object:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return next((f.type for f in msgspec.structs.fields(kind) if f.name == name), None)
    return None


def _remedy(what: str, kind: object) -> str:
    """Say what is expected instead: the choices by name, else what msgspec says of type and bounds."""
    choices = _choices(kind)
    if choices:
        return f"choose one of {', '.join(json.dumps(choice) for choice in choices)}"
    return what.replace("`object`", "a table")


def _choices(kind: object) -> list[object]:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [choice for inner in get_args(kind) for choice in _choices(inner)]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def _keys(tree: object, prefix: str = "") -> Iterator[str]:
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def show(loaded: Loaded) -> list[str]:
    """Print the merged configuration, one ``key = value  # origin`` a line. It holds no secrets."""
    tree = msgspec.to_builtins(loaded.config)
    lines = []
    for key in _keys(tree):
        value: object = tree
        for part in key.split("."):
            value = value[part] if isinstance(value, dict) else value
        lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}  # {loaded.origin[key]}")
    return lines
