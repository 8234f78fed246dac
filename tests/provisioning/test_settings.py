"""The data directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import ConfigError, StateError
from appliance.provisioning import configuration, initialise, settings
from appliance.provisioning.initialise import Choices

PROFILE = '[profiles.default]\nkind = "openai"\napi_key_file = "k"\n[profiles.default.session]\nmodel = "m"\n'
LIMITED = PROFILE + "[profiles.default.limits]\n{}\n"
STATIC = '[profiles.default]\nkind = "static"\nmodel = "m"\n'


def test_init_makes_private_files_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = initialise.prepare(data, Choices(issuer="https://voice.example/", model='a "quoted" \\ model'))
    assert all(line.startswith("made") for line in made)
    assert data.stat().st_mode & 0o777 == 0o700
    for path in data.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    first = settings.load(data)
    assert first.issuer == "https://voice.example"
    assert isinstance(first.profiles["default"].source, configuration.OpenAISource)
    assert first.profiles["default"].model == 'a "quoted" \\ model'
    assert all(line.startswith("kept") for line in initialise.prepare(data, Choices()))
    again = settings.load(data)
    assert (again.pepper, again.nonce_secret) == (first.pepper, first.nonce_secret)
    assert first.pepper != first.nonce_secret
    assert first.pepper.hex() not in repr(first)
    with pytest.raises(ConfigError, match="exists already"):
        initialise.prepare(data, Choices(model="other"))


def test_a_refused_choice_leaves_no_configuration(tmp_path: Path) -> None:
    for choices in (
        Choices(issuer="voice.example"),
        Choices(base_url="ftp://x"),
        Choices(base_url="http://api.example.com"),
        Choices(upstream="static", url="https://x", key_file="k"),
        Choices(upstream="static", url="wss://x"),
    ):
        with pytest.raises(ConfigError):
            initialise.prepare(tmp_path, choices)
    initialise.prepare(tmp_path, Choices(upstream="static", url="wss://x", key_file="k"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("= nonsense", "server.toml: "),
        ("", "missing required field `profiles`"),
        ("[profiles.other]\n" + PROFILE.replace("default", "other").partition("\n")[2], r"no \[profiles.default\]"),
        (PROFILE.replace("openai", "whatever"), "whatever"),
        (PROFILE + "[retention]\ndays = -1\n", "retention.days = -1"),
        (PROFILE.replace("api_key_file", "api_key_fle"), "api_key_fle"),
        (PROFILE.replace('model = "m"', 'type = "realtime"'), "session: .*model"),
        (PROFILE.replace('model = "m"', 'model = "m"\ntype = "transcription"'), "session: "),
        ('issuer = "https://a/path"\n' + PROFILE, "issuer"),
        ('issuer = "http://voice.example"\n' + PROFILE, "not encrypted"),
        (STATIC + 'url = "wss://a"\n', "key_file or key"),
        (STATIC + 'url = "wss://a"\nkey = "a"\nkey_file = "b"\n', "key_file or key"),
        (STATIC + 'url = "ws://a.example"\nkey = "a"\n', "unencrypted"),
        (STATIC + 'url = "wss://a"\nkey = "a"\nmax_session_s = 0\n', "max_session_s"),
        (
            LIMITED.format("per_day = -1"),
            "per_day",
        ),
        (LIMITED.format("burst = 0"), "burst"),
        (LIMITED.format("daily = 9"), "daily"),
        (PROFILE + '[upstreams.default]\nkind = "static"\nurl = "wss://a"\nkey = "k"\n', "upstreams.default"),
        (PROFILE + '[upstreams.x]\nkind = "openai"\nbase_url = "http://b.c"\napi_key_file = "k"\n', "upstreams.x"),
        (PROFILE + '[upstreams."x y"]\nkind = "openai"\napi_key_file = "k"\n', "x y"),
        (PROFILE + '[store]\nurl = "mysql://a/b"\n', "store.url"),
        (PROFILE + '[store]\nurl = "postgresql://a"\n', "store.url"),
        (PROFILE + '[store]\nurl = "postgresql://u:word@a/b"\n', "password_file"),
        (PROFILE + '[store]\nurl = "postgresql://u@a/b?password=word"\n', "password_file"),
        (PROFILE + '[metrics]\nlisten = "9464"\n', "metrics.listen"),
        (PROFILE + "[fleet]\nmints_per_s = -1\n", "fleet.mints_per_s"),
    ],
)
def test_a_wrong_file_is_named_with_the_reason(tmp_path: Path, content: str, message: str) -> None:
    initialise.prepare(tmp_path, Choices())
    (tmp_path / "server.toml").write_text(content)
    with pytest.raises(ConfigError, match=message) as refused:
        settings.load(tmp_path)
    assert "server.toml" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "word@" not in str(refused.value)
    assert refused.value.hint


def test_a_lost_or_torn_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="init --data"):
        settings.load(tmp_path)
    initialise.prepare(tmp_path, Choices())
    (tmp_path / "pepper").write_bytes(b"short")
    with pytest.raises(StateError, match="pepper is damaged"):
        settings.load(tmp_path)
    (tmp_path / "pepper").unlink()
    with pytest.raises(StateError, match="pepper"):
        settings.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff", b"a\nb"])
def test_a_key_file_holds_one_word(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="key file"):
        settings.read_key(path)
