"""``voice-appliance last-word``: what is heard and seen when the appliance has failed for good."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPWMPin

from appliance import last_word
from appliance.audio.speech import join
from appliance.config import load
from appliance.kept import Kept, save
from appliance.translation import gain_of
from tests.fakes.card import VirtualCard
from tests.fakes.card.mixer import Control, VirtualMixer
from tests.scenarios.home import ROOT, best_lag, correlation

Said = subprocess.Popen[str]


def config(directory: Path, more: str = "") -> Path:
    path = directory / "appliance.toml"
    path.write_text(
        f'board = "virtual"\n[panel]\nbackend = "none"\n[state]\ndirectory = "{directory / "state"}"\n{more}'
    )
    return path


@contextmanager
def saying(path: Path, card: VirtualCard, **environment: str) -> Iterator[Said]:
    command = [sys.executable, "-m", "appliance.cli", "last-word", "--config", str(path)]
    env = {**os.environ, **card.environment, **environment}
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_until(process: Said, words: str) -> list[str]:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"it ended without {words!r}: {lines}")


def loudness_of(card: VirtualCard, *names: str) -> float:
    """How loud the words were, in shares of the recording; they must be in what was played."""
    played = np.asarray(card.spoken(0, card.now()), np.int16).reshape(-1)
    words = join(names, 48_000)
    at = best_lag(played, words)
    heard = played[at : at + len(words)]
    assert correlation(heard, words) > 0.95
    return float(np.sqrt(np.mean(heard.astype(float) ** 2) / np.mean(words.astype(float) ** 2)))


def test_it_says_so_even_at_volume_0_and_stays_until_it_is_told_to_end(
    tmp_path: Path, virtual_card: Callable[..., VirtualCard]
) -> None:
    card = virtual_card()
    save(tmp_path / "state", Kept(volume=0, volume_over=80))
    told = {"MONITOR_SERVICE_RESULT": "start-limit-hit", "MONITOR_EXIT_STATUS": "KILL"}
    with saying(config(tmp_path), card, **told) as process:
        lines = lines_until(process, "said: ")
        assert "I give up" in lines[-1]
        assert "(last: start-limit-hit, KILL); `voice-appliance doctor`" in lines[0]
        assert loudness_of(card, "gives-up") == pytest.approx(gain_of(last_word.LOUD_ENOUGH), rel=0.1)
        assert process.poll() is None, "it stays, for the light"
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def test_a_codec_is_unmuted_before_it_says_it(tmp_path: Path, virtual_card: Callable[..., VirtualCard]) -> None:
    card = virtual_card()
    mixer = VirtualMixer(tmp_path / "mixer", "vhw", [Control("Speaker Playback Volume", 127, 2)])
    devices = "".join(f'[{part}]\ndevice = "vhw"\n' for part in ("capture", "playback"))
    (tmp_path / "own.toml").write_text(f'name = "Own"\nmixer = [{{ control = "Speaker", volume = 100 }}]\n{devices}')
    path = tmp_path / "appliance.toml"
    path.write_text(f'board = "own"\n[panel]\nbackend = "none"\n[state]\ndirectory = "{tmp_path / "state"}"\n')
    with saying(path, card, VOICE_APPLIANCE_HARDWARE=str(tmp_path), **mixer.with_card(card)) as process:
        lines_until(process, "said: ")
    assert mixer.values() == {"Speaker Playback Volume": (100, 100)}
    assert loudness_of(card, "gives-up") > 0


def test_the_light_shows_the_fault_as_long_as_it_stays(tmp_path: Path) -> None:
    path = config(tmp_path, '[audio]\nplayback = "nothing"\n')
    path.write_text(path.read_text().replace('"none"', '"gpio"').replace('"virtual"', '"i2s-mems"'))
    factory = MockFactory(pin_class=MockPWMPin)
    before, Device.pin_factory = Device.pin_factory, factory

    async def story() -> None:
        telling = asyncio.create_task(last_word.tell(load(path)))
        pin = factory.pin(25)
        for lit in (True, False, True):  # the fault pattern blinks
            while bool(pin.state) is not lit and not telling.done():  # noqa: ASYNC110  # a pin has no event
                await asyncio.sleep(0.01)
        assert not telling.done()
        os.kill(os.getpid(), signal.SIGTERM)
        await telling

    try:
        asyncio.run(asyncio.wait_for(story(), 10))
    finally:
        factory.reset()
        Device.pin_factory = before


def test_a_configuration_that_cannot_be_used_does_not_silence_it(
    tmp_path: Path, virtual_card: Callable[..., VirtualCard]
) -> None:
    card = virtual_card()
    with saying(config(tmp_path, "[audio]\nvolum = 3\n"), card) as process:
        lines = lines_until(process, "said: ")
        assert "audio.volum = 3" in lines[0]
        loudness_of(card, "settings", "gives-up")


def test_without_a_card_and_without_a_light_it_says_so_in_the_journal_and_stays(
    tmp_path: Path, virtual_card: Callable[..., VirtualCard]
) -> None:
    path = config(tmp_path, '[audio]\nplayback = "nothing"\n')
    path.write_text(path.read_text().replace('"none"', '"gpio"').replace('"virtual"', '"i2s-mems"'))
    began_s = time.monotonic()
    with saying(path, virtual_card()) as process:
        lines = lines_until(process, "cannot say it")
        assert any("no light: " in line for line in lines)
        assert time.monotonic() - began_s >= last_word.CARD_S, (
            "a card that is held by what just ended gets some seconds"
        )
        assert process.poll() is None
