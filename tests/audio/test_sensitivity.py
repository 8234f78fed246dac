"""Soft microphones: talkers are heard, to their last word, however little the microphone gives; rooms are nobody."""

from __future__ import annotations

import numpy as np
import pytest

from appliance.audio.bargein import BargeIn
from appliance.audio.ears import Ears
from appliance.audio.endpoint import Endpointer
from appliance.audio.facts import AudioFact, VoiceBegan, VoiceStopped
from appliance.audio.format import Samples, level_dbfs
from appliance.audio.listener import Listener
from appliance.audio.processing import BLOCK, DETECTORS, Untouched
from appliance.audio.sensitivity import MOST_DB, ROOM_DBFS, Sensitivity
from tests.audio.recordings import NAMES, RATE, recording

T0 = 500.0
LEAD_S, TAIL_S = 2.0, 1.5
SNR_DB = 25.0


def said(name: str, dbfs: float) -> tuple[Samples, float]:
    """A recording so loud, over a room that hisses ``SNR_DB`` below it; and when its last sound ends."""
    speech = recording(name)[: 8 * RATE].astype(float)
    power = np.square(speech[: len(speech) // BLOCK * BLOCK]).reshape(-1, BLOCK).mean(axis=1)
    active = power > power.max() * 1e-2
    gain = 10 ** (dbfs / 20) * 32768 / np.sqrt(power[active].mean())
    whole = np.random.default_rng(5).normal(
        0, 32768 * 10 ** ((dbfs - SNR_DB) / 20), int((LEAD_S + TAIL_S) * RATE) + len(speech)
    )
    whole[int(LEAD_S * RATE) :][: len(speech)] += speech * gain
    return np.clip(np.rint(whole), -32768, 32767).astype(np.int16), LEAD_S + (np.flatnonzero(active)[-1] + 1) / 100


def told(sound: Samples, detector: str = "earshot") -> list[tuple[float, AudioFact]]:
    """What the listener tells of it while nothing sounds."""
    facts: list[tuple[float, AudioFact]] = []
    now = 0.0
    listener = Listener(
        Ears(Untouched(), DETECTORS[detector]()),
        BargeIn(),
        Endpointer(700),
        lambda fact: facts.append((now, fact)),
        lambda _: False,
        hush=False,
    )
    for at in range(0, len(sound) - BLOCK + 1, BLOCK):
        now = at / RATE
        listener.block(sound[at : at + BLOCK], None, T0 + now)
    return facts


@pytest.mark.parametrize("dbfs", [-20.0, -45.0, -60.0, -68.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_talker_is_heard_to_the_end_however_soft_the_microphone_is(name: str, dbfs: float) -> None:
    sound, ends_s = said(name, dbfs)
    facts = [(at, fact) for at, fact in told(sound) if isinstance(fact, VoiceBegan | VoiceStopped)]
    assert isinstance(facts[0][1], VoiceBegan)
    assert LEAD_S <= facts[0][0] < LEAD_S + 0.6
    assert isinstance(facts[-1][1], VoiceStopped)
    assert ends_s < facts[-1][0] < ends_s + 1.1


@pytest.mark.parametrize("dbfs", [-90.0, -75.0, -60.0, -45.0])
def test_a_room_that_only_hisses_is_nobody(dbfs: float) -> None:
    hiss = np.random.default_rng(6).normal(0, 32768 * 10 ** (dbfs / 20), 20 * RATE)
    assert told(np.rint(hiss).astype(np.int16)) == []


def test_it_follows_the_room_and_never_more_than_so_far() -> None:
    sensitivity = Sensitivity()
    tone = np.full(BLOCK, 100, np.int16)
    assert np.array_equal(sensitivity(tone), tone)
    for floor, lift in ((-40.0, 0.0), (ROOM_DBFS, 0.0), (ROOM_DBFS - 12, 12.0), (-96.0, MOST_DB)):
        sensitivity.know(floor)
        assert sensitivity.lift_db == pytest.approx(lift)
        assert level_dbfs(sensitivity(tone)) == pytest.approx(level_dbfs(tone) + lift, abs=0.1)
    assert sensitivity(np.full(BLOCK, 30_000, np.int16)).max() == 32_767
