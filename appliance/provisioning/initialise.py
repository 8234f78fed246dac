"""Makes a data directory ready, and brings an old one up to date. Running it again is harmless.

Responsible for: directory, secret files, ``server.toml``, database schema. It never overwrites a secret or a
configuration.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec

from appliance.errors import ConfigError, StateError
from appliance.provisioning import settings


class Choices(msgspec.Struct, frozen=True):
    """What ``init`` was told; empty means: the default, or not said."""

    issuer: str = ""
    upstream: str = ""
    base_url: str = ""
    url: str = ""
    api_key_file: str = ""
    key_file: str = ""
    model: str = ""
    store_url: str = ""
    store_password_file: str = ""

    @property
    def any_given(self) -> bool:
        """Whether the configuration should come out different from the default."""
        return self != Choices()


def prepare(data: Path, choices: Choices) -> list[str]:
    """Makes what is missing and returns one line per thing made or kept. The database is `database.upgrade`'s.

    Raises:
        ConfigError: the choices make no usable configuration, or there is one already.
        StateError: the directory cannot be written.
    """
    config = data / settings.CONFIG_NAME
    if os.path.exists(config) and choices.any_given:  # noqa: PTH110  # Path.exists() raises where it may not look
        raise ConfigError(f"{config} exists already", hint="edit it, or leave out the options")
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        said = [
            _create(data / name, os.urandom(settings.SECRET_BYTES))
            for name in (settings.PEPPER_NAME, settings.NONCE_SECRET_NAME)
        ]
        said.append(_create(config, _toml(choices).encode()))
    except OSError as error:
        raise StateError(f"cannot write {data} ({error.strerror})", hint="check owner and free space") from error
    try:
        store = settings.load(data).store
    except ConfigError:
        if said[-1].startswith("made"):
            config.unlink()  # or the corrected command would find a file "exists already"
        raise
    if store.path:
        try:
            _create(store.path, b"")
        except OSError as error:
            raise StateError(f"cannot write {data} ({error.strerror})", hint="check owner and free space") from error
    return said


def _create(path: Path, content: bytes) -> str:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return f"kept {path}"
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
    return f"made {path}"


def _toml(choices: Choices) -> str:
    model = choices.model or "gpt-realtime-1.5"
    issuer = f"issuer = {_quoted(choices.issuer)}" if choices.issuer else '# issuer = "https://voice.example.org"'
    head = (
        f"# The address devices use, exactly. Needed behind a proxy; derived from each request when unset.\n{issuer}\n"
    )
    if choices.upstream == "static":
        return (
            f"{head}{_store(choices)}\n[profiles.default]\n"
            'kind = "static"      # a self-hosted compatible server: every device gets this key\n'
            f"url = {_quoted(choices.url)}\n"
            f"key_file = {_quoted(_absolute(choices.key_file))}\n"
            f"model = {_quoted(model)}\n"
        )
    return (
        f"{head}{_store(choices)}\n[profiles.default]\n"
        'kind = "openai"      # mints a client secret per conversation\n'
        f"base_url = {_quoted(choices.base_url or 'https://api.openai.com')}\n"
        f"api_key_file = {_quoted(_absolute(choices.api_key_file) or 'openai.key')}\n"
        "max_session_s = 3600\n\n"
        "[profiles.default.session]   # bound to each secret, sent as it stands\n"
        'type = "realtime"\n'
        f"model = {_quoted(model)}\n"
    )


def _store(choices: Choices) -> str:
    if not choices.store_url:
        return '\n# [store]                # without it a SQLite file here\n# url = "postgresql+psycopg://user@host/database"\n'
    password = _absolute(choices.store_password_file)
    named = f"password_file = {_quoted(password)}\n" if password else ""
    return f"\n[store]\nurl = {_quoted(choices.store_url)}\n{named}"


def _absolute(path: str) -> str:
    # The user typed it relative to where they stand; the file is read relative to the data directory.
    return str(Path(path).absolute()) if path else ""


def _quoted(text: str) -> str:
    return json.dumps(text)  # a JSON string is a TOML basic string
