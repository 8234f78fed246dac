"""Nothing secret passes the scrubber, and what is needed to help does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.diagnosis.scrub import LONGEST_LINE, LONGEST_SECRET, Scrubber, secrets_of

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize(
    "text",
    [
        "ek_hushhush and vdt_hushhush, vet_hushhush; sk-proj-hushhush",
        "psk=hushhush",
        'psk="hush hush"',
        "wifi_password: hushhush",
        "PASSPHRASE = 'hushhush'",
        '{"client_secret": "hushhush"}',
        "Authorization: DPoP hushhush",
        "Bearer hushhush",
        "OPENAI_API_KEY=hushhush",
        "http://max:hushhush@box.local/",
        "code 019-450-730 waits (hush: 019450730)".replace("hush", "x"),
        "eyJhbGciOiJFUzI1NiIsImtpZCI6Imh1c2giLCJ0eXAiOiJkcG9wK2p3dCJ9.hushhushhushhushhushhushhushhush1",
    ],
)
def test_secrets_go(text: str) -> None:
    cleaned = Scrubber().clean(text)
    assert "hush" not in cleaned
    assert "019" not in cleaned
    assert "…" in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "ok      daemon: idle, link up, up for 2.0 h, version 0.1.0",
        "realtime.max_output_tokens = inf  # default",
        '{"input_tokens": 120, "output_tokens": 40}',
        "known as d_abcdefghij0123456789, profile default, model gpt-realtime-mini-2025-10",
        "plughw:CARD=sndrpigooglevoi,DEV=0",
        "the enrolment token is unknown, used up or expired",
        "2026-11-27T08:00:00Z ready: board i2s-mems, local",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert Scrubber().clean(text) == text


@given(st.text(LETTERS, min_size=6), st.text(max_size=40), st.text(max_size=40))
def test_the_secrets_of_this_machine_go_wherever_they_are(secret: str, before: str, after: str) -> None:
    assert secret not in Scrubber([secret]).clean(before + secret + after).replace("…", "\0")


def test_words_in_quotes_leave_the_journal_and_numbers_stay() -> None:
    scrubber = Scrubber()
    assert "pizza" not in scrubber.clean_line("daemon: timer 'the pizza' rings")
    record = 'records: turn {"event":"turn","heard_ms":812.5}'
    assert scrubber.clean_line(record) == record


def test_the_secrets_of_this_machine_are_found(tmp_path: Path) -> None:
    state, etc, token = tmp_path / "state", tmp_path / "etc", tmp_path / "token"
    state.mkdir()
    (state / "identity.jwk").write_text(json.dumps({"kty": "EC", "d": "the-private-key"}))
    (state / "enrolment.json").write_text('{"torn by a power cut: the-token')
    token.write_text("the-enrolment-token\n")
    wifi = etc / "NetworkManager/system-connections/home.nmconnection"
    wifi.parent.mkdir(parents=True)
    wifi.write_text("[wifi-security]\nkey-mgmt=wpa-psk\npsk=the wifi key\n")
    supplicant = etc / "wpa_supplicant/wpa_supplicant.conf"
    supplicant.parent.mkdir()
    supplicant.write_text('network={\n  ssid="x"\n  psk="the other wifi key"\n}\n')
    found = set(secrets_of(state, [token, tmp_path / "none"], etc))
    assert {"the-private-key", "the-enrolment-token", "the wifi key", "the other wifi key", "the-token"} <= found


@pytest.mark.parametrize("before", range(LONGEST_LINE - 40, LONGEST_LINE + 4, 3))
def test_of_a_very_long_line_the_end_is_lost_and_no_part_of_a_secret_stays(before: int) -> None:
    known = "correct horse battery"
    cleaned = Scrubber([known]).clean_line(f"{'word ' * 1000}"[:before] + f" {known} vdt_hushhush {'a' * 100_000}")
    assert len(cleaned) <= LONGEST_LINE - LONGEST_SECRET + 1
    assert not [word for word in ("corr", "hush", "vdt") if word in cleaned]
    assert cleaned.startswith("word word")


@pytest.mark.parametrize("mark", ["'", '"'])
def test_of_a_very_long_quotation_nothing_stays(mark: str) -> None:
    cleaned = Scrubber().clean_line(f"{'word ' * 200}timer {mark}{'saffron ' * 1000}{mark} rings")
    assert cleaned.startswith("word word")
    assert "saffron" not in cleaned
