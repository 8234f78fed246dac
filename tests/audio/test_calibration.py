"""The measurement on rooms that are known exactly, and its words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.calibration import BEFORE_S, Loop, _analyse, probe, report
from appliance.audio.format import Samples
from tests.command import call, run
from tests.fakes.card import VirtualCard

RATE = 48_000


def room(delay_ms: float, loss_db: float, noise: float = 3.0) -> Samples:
    """What a microphone hears: noise, and the probe again, later and softer. Playing starts after ``BEFORE_S``."""
    played = probe(RATE, 1.0).astype(np.float64) * 10 ** (-loss_db / 20)
    start = int((BEFORE_S + delay_ms / 1000) * RATE)
    near = np.random.default_rng(1).normal(0.0, noise, int(3.2 * RATE))
    near[start : start + len(played)] += played[: len(near) - start]
    heard: Samples = np.clip(near, -32768, 32767).astype(np.int16)
    return heard


def analysed(near: Samples, overruns: int = 0) -> Loop:
    return _analyse(near, RATE, probe(16_000, 1.0), int(BEFORE_S * RATE), overruns, 0)


@settings(max_examples=10, deadline=None)
@given(delay_ms=st.floats(1, 400), loss_db=st.floats(0, 30))
def test_delay_and_loss_are_found(delay_ms: float, loss_db: float) -> None:
    found = analysed(room(delay_ms, loss_db))
    assert found.delay_ms is not None
    assert found.return_loss_db is not None
    assert found.delay_ms == pytest.approx(delay_ms, abs=1.5)
    assert found.return_loss_db == pytest.approx(loss_db, abs=1.0)


def test_an_echo_canceller_takes_a_clean_echo_away() -> None:
    found = analysed(room(40.0, 12.0))
    assert found.erle_db is not None
    assert found.erle_db > 15


def test_silence_is_no_echo_and_says_what_to_look_at() -> None:
    found = analysed(room(40.0, 12.0) * 0)
    assert (found.delay_ms, found.return_loss_db, found.erle_db) == (None, None, None)
    assert "not heard: the loudspeaker is silent" in "\n".join(report(found))


@pytest.mark.parametrize("length", [1, 100, int(BEFORE_S * RATE), int(0.6 * RATE)])
def test_a_microphone_that_freezes_early_is_no_crash(length: int) -> None:
    assert report(analysed(room(40.0, 12.0)[:length]))


def test_clipping_and_losses_are_counted_and_a_remedy_is_given() -> None:
    near = room(40.0, 0.0)
    near[30_000:30_100] = 32_767
    found = analysed(near, overruns=2)
    assert found.clipped_samples >= 100
    lines = report(found)
    assert any("clipped samples" in line and "turn the volume" in line for line in lines)
    assert lines[-1].split() == ["overruns", "2,", "underruns", "0"]


def config(directory: Path, microphones: str) -> str:
    path = directory / "a.toml"
    path.write_text(f'[audio]\nmicrophones = [{microphones}]\n[state]\ndirectory = "{directory / "state"}"\n')
    return str(path)


def test_a_channel_that_the_card_has_not(tmp_path: Path, virtual_card: Callable[..., VirtualCard]) -> None:
    done = run("calibrate", "--config", config(tmp_path, "5"), **virtual_card().environment)
    assert done.returncode == 1
    assert "the card gives 1 channel(s); use channels 0 to 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_microphone_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "virtual.toml").write_text('name = "Deaf"\n[capture]\nmicrophones = []\n')
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))
    done = call("calibrate", "--config", config(tmp_path, ""))
    assert done.returncode == 78
    assert "no microphone" in done.stderr
