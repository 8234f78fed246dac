"""The whole chain behind a microphone, in blocks: real AEC3 and earshot, real speech, a small room."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pytest

from appliance.audio.bargein import BY_THE_BOARD, BargeIn, Tuning
from appliance.audio.ears import Ears
from appliance.audio.endpoint import Endpointer
from appliance.audio.facts import AudioFact, EchoUncontrolled, VoiceBegan, VoiceCleared, VoiceStopped, VoiceSuspected
from appliance.audio.format import Samples
from appliance.audio.listener import OVER_PRE_ROLL_S, PRE_ROLL_S, Listener
from appliance.audio.loudness import DUCK_DB
from appliance.audio.processing import BLOCK, DETECTORS, Aec3, Processor, ProcessorError, Untouched
from tests.audio.recordings import recording
from tests.audio.room import Signal, as_loud_as, echo_of, int16, noise, path, reply

Fact = TypeVar("Fact")
T0 = 500.0
RESPONSE = path(0.5)


class Broken:
    """AEC3 that fails at its ``fails_at``-th block, if not before."""

    cancels, delay = True, 128

    def __init__(self, fails_at: int) -> None:
        self._cancel, self._left = Aec3(), fails_at

    def __call__(self, near: Samples, far: Samples) -> Samples:
        self._left -= 1
        if self._left < 0:
            raise ProcessorError("the echo canceller failed (made up)", hint="restart the appliance")
        return self._cancel(near, far)


class Scene:
    """A listener, a loudspeaker that it may duck, and the air between them. The engine silences on a sure voice."""

    def __init__(
        self, processor: Processor | None = None, *, hush: bool = False, tuning: Tuning | None = None, end_ms: int = 500
    ) -> None:
        ears = Ears(processor or Aec3(), DETECTORS["earshot"]())
        self.facts: list[tuple[float, AudioFact]] = []
        self.ducks: list[tuple[float, bool]] = []
        self.now = 0.0
        self.gain = 1.0
        self.sounds = False  # a reply
        self.silenced_at: float | None = None
        self.hushed = 0
        self.out: list[Samples] = []
        self._memory = np.zeros(len(RESPONSE) - 1)
        self.listener = Listener(ears, BargeIn(tuning), Endpointer(end_ms), self._post, self._duck, hush=hush)

    def _post(self, fact: AudioFact) -> None:
        self.facts.append((self.now, fact))
        if isinstance(fact, VoiceBegan) and self.sounds:
            self.sounds, self.silenced_at = False, self.now

    def _duck(self, down: bool) -> bool:
        self.ducks.append((self.now, down))
        self.gain = 10 ** (-DUCK_DB / 20) if down and self.sounds else 1.0
        return self.sounds

    def play(
        self, said: Samples | None, talker: Signal | None = None, *, seconds: float | None = None, rings: bool = True
    ) -> None:
        """The loudspeaker says ``said`` while ``talker`` talks; afterwards the far end is silence, or none."""
        count = int(16_000 * seconds) if seconds else max(len(x) for x in (said, talker) if x is not None)
        self.sounds = said is not None
        room = noise(count, seed=len(self.facts) + count)
        for at in range(0, count - BLOCK + 1, BLOCK):
            far = np.zeros(BLOCK)
            if said is not None and self.sounds:
                far[: len(said[at : at + BLOCK])] = said[at : at + BLOCK] * self.gain
            loudspeaker = np.concatenate((self._memory, far))
            self._memory = loudspeaker[BLOCK:]
            near = np.convolve(loudspeaker, RESPONSE, "valid") + room[at : at + BLOCK]
            if talker is not None:
                near[: len(talker[at : at + BLOCK])] += talker[at : at + BLOCK]
            heard = int16(near)
            self.listener.check(heard, 16_000)
            reference = int16(far) if rings or self.sounds else None
            clean = self.listener.block(heard, reference, T0 + self.now)
            self.out.append(heard if clean is None else clean)
            self.hushed += self.listener.hush_dbfs is not None
            self.now += 0.01

    def all(self, kind: type[Fact]) -> list[Fact]:
        return [fact for _, fact in self.facts if isinstance(fact, kind)]

    def at(self, kind: type[AudioFact]) -> list[float]:
        return [at for at, fact in self.facts if isinstance(fact, kind)]

    @property
    def voices(self) -> list[type[AudioFact]]:
        kinds = (VoiceBegan, VoiceStopped, VoiceSuspected, VoiceCleared)
        return [type(fact) for _, fact in self.facts if isinstance(fact, kinds)]


def talking(over: Samples, at_s: float, db: float) -> Signal:
    """A talker so loud against the echo of ``over``, silent but for one sentence from ``at_s`` on."""
    said = recording("cards/001.wav").astype(float)
    out = np.zeros(max(len(over), int(at_s * 16_000) + len(said) + 16_000))
    out[int(at_s * 16_000) :][: len(said)] = as_loud_as(said, echo_of(over, RESPONSE), db)
    return out


def test_the_own_voice_alone_is_nobodys() -> None:
    scene = Scene()
    for seconds in (20, 15):
        scene.play(reply(seconds))
        scene.play(None, seconds=1.5)
    assert VoiceBegan not in scene.voices
    assert VoiceStopped not in scene.voices
    assert scene.all(EchoUncontrolled) == []


@pytest.mark.parametrize("db", [-10.0, 0.0])
def test_a_talker_over_it_ducks_first_and_then_is_heard(db: float) -> None:
    scene = Scene()
    scene.play(reply(5))
    scene.facts.clear()
    scene.ducks.clear()
    began = scene.now + 4.0
    said = reply(12)
    scene.play(said, talking(said, 4.0, db))
    (voice_at, *_) = scene.at(VoiceBegan)
    assert 0 < voice_at - began < 1.5
    suspected = [at for at in scene.at(VoiceSuspected) if at < voice_at]
    assert suspected, "it ducked first"
    assert voice_at - suspected[-1] < 0.7
    assert scene.silenced_at == pytest.approx(voice_at)
    assert scene.ducks[-1][1], "a confirmed suspicion does not let the loudspeaker return"
    onset = next(fact.onset_at for fact in scene.all(VoiceBegan)) - T0
    assert began - 0.8 < onset <= voice_at


def test_the_turn_ends_when_the_talker_does() -> None:
    scene = Scene()
    said = reply(9)
    talker = talking(said, 4.0, 0.0)
    scene.play(said, np.concatenate((talker, np.zeros(16_000))))
    ends_s = float(np.flatnonzero(np.abs(talker) > np.abs(talker).max() * 0.03)[-1]) / 16_000
    assert scene.voices[-1] is VoiceStopped
    assert VoiceBegan in scene.voices
    stopped = scene.all(VoiceStopped)[-1]
    assert stopped.ended_at - T0 == pytest.approx(ends_s, abs=0.3)
    assert scene.listener.speech_ended_at == stopped.ended_at
    assert scene.at(VoiceStopped)[-1] == pytest.approx(stopped.ended_at - T0 + 0.5, abs=0.05), "end_of_turn_ms later"
    scene.listener.turn_began()
    assert scene.listener.speech_ended_at is None


def test_suspicions_and_their_ends_alternate_as_the_ducks_do() -> None:
    scene = Scene()
    for k, db in enumerate((-25.0, -18.0, -12.0)):
        said = reply(9)
        scene.play(said, talking(said, 2.0 + k, db))
    down = False
    for _, fact in scene.facts:
        match fact:
            case VoiceSuspected():
                assert not down
                down = True
            case VoiceCleared():
                assert down
                down = False
            case VoiceBegan():
                down = False
            case _:
                pass
    assert scene.voices.count(VoiceSuspected) > 0


def test_a_canceller_that_fails_is_told_once_and_the_sound_goes_on() -> None:
    scene = Scene(Broken(300))
    scene.play(reply(5))
    (lost,) = scene.all(EchoUncontrolled)
    assert lost == EchoUncontrolled("the echo canceller failed (made up)", "restart the appliance")
    assert scene.at(EchoUncontrolled) == [pytest.approx(3.0)]
    assert len(scene.out) == 500
    assert scene.listener.delay == 0


def test_a_suspicion_that_the_failure_interrupts_lets_the_loudspeaker_return() -> None:
    broken = Broken(10_000)
    scene = Scene(broken, tuning=Tuning(suspect_voice=0.0, suspect_db=-4.0, least_left_db=-200.0, above_floor_db=-90.0))
    scene.play(reply(0.2))
    assert [down for _, down in scene.ducks] == [True]
    broken._left = 0
    scene.play(reply(0.2))
    assert [down for _, down in scene.ducks] == [True, False]


@pytest.mark.parametrize("rings", [True, False])
def test_without_a_canceller_a_talker_is_heard_at_once_although_a_cue_has_just_sounded(rings: bool) -> None:
    """Endpointing is plain then: neither the cue's second nor a watch stands between."""
    talker = recording("cards/001.wav").astype(float)
    alone = Scene(Broken(0))
    alone.play(None, talker, rings=False)
    after = Scene(Broken(0))
    after.play(int16(2000 * np.sin(np.arange(4800) / 5)))
    begun = after.now
    after.facts.clear()
    after.play(None, talker, rings=rings)
    assert alone.at(VoiceBegan)[0] == pytest.approx(after.at(VoiceBegan)[0] - begun, abs=0.05)
    assert VoiceSuspected not in after.voices
    since = after.listener.since()
    assert since is None or since < T0 + after.now


def test_where_the_board_cancels_it_ducks_and_decides_as_well() -> None:
    scene = Scene(Untouched(), tuning=BY_THE_BOARD)
    said = np.full(8 * 16_000, 0, np.int16)
    said[::2] = 300  # the board has taken it out of the microphone: what sounds does not matter
    scene.listener.block(np.zeros(BLOCK, np.int16), None, T0)
    talker = np.zeros(8 * 16_000)
    words = recording("cards/001.wav").astype(float)
    talker[32_000 : 32_000 + len(words)] = words
    scene._memory[:] = 0
    scene.play(said, talker)
    assert scene.voices[:2] == [VoiceSuspected, VoiceBegan]
    assert scene.voices[-1] is VoiceStopped
    assert scene.all(EchoUncontrolled) == [], "its echo is not ours to judge"


@pytest.mark.parametrize("hush", [True, False])
def test_only_what_is_nothing_but_echo_is_hushed_and_only_for_one_who_listens(hush: bool) -> None:
    scene = Scene(hush=hush)
    scene.play(reply(10))
    of_echo = scene.hushed
    scene.play(None, seconds=1.0)
    scene.hushed = 0
    scene.play(None, recording("cards/001.wav").astype(float))
    assert (of_echo > 300) is hush
    assert scene.hushed == 0, "a talker alone is never silenced"


def test_since_when_the_turn_is_the_talkers() -> None:
    scene = Scene()
    assert scene.listener.since() is None, "nothing is known: as much as is usual"
    said = reply(6)
    scene.play(said)
    assert scene.listener.since() == float("inf"), "the own voice belongs to nobody's turn"
    scene.play(None, seconds=0.5, rings=False)
    assert scene.listener.since() is None
    scene.play(None, recording("cards/001.wav")[:16_000].astype(float), rings=False)
    (began,) = scene.all(VoiceBegan)
    assert scene.listener.since() == pytest.approx(began.onset_at - PRE_ROLL_S)
    scene.play(None, seconds=1.0, rings=False)
    assert scene.listener.since() is None


def test_over_the_loudspeaker_the_turn_begins_a_second_before_what_gave_the_talker_away() -> None:
    scene = Scene()
    scene.play(reply(4))
    said = reply(12)
    scene.play(said[: 5 * 16_000], talking(said, 4.0, 0.0)[: 5 * 16_000])
    (began, *_) = scene.all(VoiceBegan)
    assert scene.listener.since() == pytest.approx(began.onset_at - OVER_PRE_ROLL_S)


def test_one_who_talks_when_a_reply_begins_ends_without_forgetting_a_suspicion() -> None:
    """His end must not make the watch forget that it ducked: nobody would let the loudspeaker return."""
    eager = Tuning(suspect_voice=0.0, suspect_db=-4.0, least_left_db=-200.0, above_floor_db=-90.0, most=0.0, young=0)
    scene = Scene(tuning=eager, end_ms=300)
    scene.play(None, recording("cards/001.wav")[:16_000].astype(float), rings=False)
    assert scene.voices == [VoiceBegan]
    scene.play(reply(3))
    assert VoiceStopped in scene.voices
    changes = [kind for kind in scene.voices if kind in {VoiceSuspected, VoiceCleared}]
    assert changes[:2] == [VoiceSuspected, VoiceCleared]
    assert changes.count(VoiceSuspected) - changes.count(VoiceCleared) in (0, 1), "each is cleared before the next"


def test_a_microphone_opened_anew_lets_the_loudspeaker_return_and_knows_no_talker() -> None:
    eager = Tuning(suspect_voice=0.0, suspect_db=-4.0, least_left_db=-200.0, above_floor_db=-90.0)
    scene = Scene(tuning=eager)
    scene.play(reply(0.2))
    assert [down for _, down in scene.ducks] == [True]
    scene.listener.opened()
    assert [down for _, down in scene.ducks] == [True, False]
    assert scene.listener.since() is None
