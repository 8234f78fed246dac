"""The real audio thread in a simulated room, in virtual time: many times faster than a clock, exact to the sample.

Responsible for: a sound card whose loudspeaker and microphones share a :class:`~tests.acoustic.air.Air`, a hand that
plays replies and, as the engine does, silences them when a voice is told, and what came of it. Not for: scenes or
scores. What runs is ``Duplex`` with all that it owns, turn by turn as its thread would.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from appliance.audio import facts
from appliance.audio.bargein import BargeIn, Tuning
from appliance.audio.cards import Cards
from appliance.audio.chain import Chain
from appliance.audio.duplex import Duplex
from appliance.audio.format import Samples, level_dbfs
from appliance.audio.processing import DETECTORS, Aec3
from appliance.audio.resample import Resampler
from tests.acoustic import scenes
from tests.acoustic.air import BLOCK, Air
from tests.acoustic.scenes import Scene
from tests.acoustic.voices import RATE, Sound
from tests.fakes.sound_card import Loudspeaker, Script, Time

SINC = 16  # taps on each side, of the interpolation between two clocks
TOLD_S = 0.002  # from the audio thread through the event loop and back
END_OF_TURN_MS = 700


class Meter:
    """AEC3 with a meter: energies before and after it, of blocks in which the echo is most of what is heard."""

    cancels, delay = Aec3.cancels, Aec3.delay

    def __init__(self, air: Air) -> None:
        self._cancel, self._air = Aec3(), air
        self._blocks = 0
        self.before = self.after = 0.0

    def __call__(self, near: Samples, far: Samples) -> Samples:
        clean = self._cancel(near, far)
        self._blocks += 1
        before = 10 ** (level_dbfs(near) / 10)
        if self._blocks > 300 and before > 1e-6 and self._air.echo_power > 0.5 * before:
            self.before += before
            self.after += 10 ** (level_dbfs(clean) / 10)
        return clean

    @property
    def erle_db(self) -> float | None:
        """Echo return loss enhancement, from the fourth second on."""
        return None if self.after <= 0 else 10 * float(np.log10(self.before / self.after))


class RoomMicrophones:
    """A capture PCM that hears the room in which the loudspeaker plays."""

    format, buffer_frames = "S16_LE", RATE * 24 // 100

    def __init__(self, time: Time, air: Air, loudspeaker: Loudspeaker, mics: int, drift_ppm: float) -> None:
        self.rate, self.channels, self.frame_bytes = RATE, mics, 2 * mics
        self._time, self._air, self._loudspeaker = time, air, loudspeaker
        self._pace = 1 + drift_ppm * 1e-6  # loudspeaker frames per microphone frame
        self._begun_at: float | None = None
        self._zero = 0.0  # loudspeaker frame at which the first microphone frame was
        self._heard = self._taken = 0
        self._held: list[Samples] = []

    def read(self) -> bytes | None:
        if self._begun_at is None:
            self._begun_at = self._time()
            self._zero = float(self._loudspeaker.frame)
        if self.waiting() < BLOCK:
            return b""
        self._taken += BLOCK
        return self._hear().tobytes()

    def waiting(self) -> int:
        if self._begun_at is None:
            return 0
        return max(0, int((self._time() - self._begun_at) * RATE + 1e-6) - self._taken)

    def _hear(self) -> Samples:
        """The next block; the loudspeaker's frames are read a millisecond late, so that all of them are known."""
        at = self._zero + self._heard * self._pace - SINC
        self._heard += BLOCK
        whole = int(np.floor(at))
        frames = self._loudspeaker.between(whole - SINC, whole + BLOCK + SINC + 1)
        return self._air.block(_between_samples(np.asarray(frames / 32768, np.float32), at - whole))

    def close(self) -> None:
        pass


def _between_samples(frames: Sound, fraction: float) -> Sound:
    """The block that lies ``fraction`` of a sample later: windowed sinc."""
    taps = np.arange(-SINC, SINC + 1) - fraction
    kernel = np.sinc(taps) * np.cos(np.pi * taps / (2 * SINC + 4)) ** 2
    return np.convolve(frames, kernel[::-1].astype(np.float32), "valid")[:BLOCK].astype(np.float32)


class RoomCards(Cards):
    """Opens the simulated card."""

    def __init__(self, loudspeaker: Loudspeaker, microphones: RoomMicrophones) -> None:
        self._loudspeaker, self._microphones = loudspeaker, microphones

    def open_capture(self) -> RoomMicrophones:
        return self._microphones

    def open_playback(self) -> Loudspeaker:
        return self._loudspeaker


@dataclass(slots=True)
class Played:
    """What came of a scene; times in seconds of the scene."""

    scene: Scene
    ducks: list[float] = field(default_factory=list)
    cleared: list[float] = field(default_factory=list)
    cuts: list[tuple[float, float]] = field(default_factory=list)  # when it was told, since when somebody talks
    ends: list[float] = field(default_factory=list)
    turns: dict[int, list[tuple[float, bytes]]] = field(default_factory=dict)  # what went up: (captured at, 24 kHz)
    lost_control: list[str] = field(default_factory=list)
    erle_db: float | None = None


class Stage:
    """Plays a scene on the real chain. ``microphones`` chooses the channels, as the configuration does.

    ``stricter_db``: so much more has to be unexplained before anybody is suspected; for curves, not for the product.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        detector: str = "earshot",
        microphones: tuple[int, ...] | None = None,
        stricter_db: float = 0.0,
        clock_ppm: float | None = None,
    ) -> None:
        """``clock_ppm`` is what the device keeps of an earlier life, see :func:`learned_ppm`."""
        mics = len(scene.room.echo)
        self.time = Time()
        self._zero = self.time.now
        self._scene = scene
        air = Air(scene.room, scene.near, scene.moved_at_s, scene.jump)
        self._meter = Meter(air)
        loudspeaker = Loudspeaker(
            self.time, RATE, buffer_frames=RATE * 24 // 100, speed=1 + scene.room.drift_ppm * 1e-6
        )
        pcm = RoomMicrophones(self.time, air, loudspeaker, mics, scene.room.drift_ppm)
        chain = Chain(
            self._meter, DETECTORS[detector](), microphones or tuple(range(mics)), END_OF_TURN_MS, clock_ppm=clock_ppm
        )
        self._duplex = Duplex(RoomCards(loudspeaker, pcm), chain, 1.0, self.time, self._told)
        if stricter_db:
            usual = Tuning()
            self._duplex._listener._watch = BargeIn(replace(usual, suspect_db=usual.suspect_db + stricter_db))
        self._script = Script(self.time)
        self._turn = 0
        self._reply = 0
        self.played = Played(scene)

    @property
    def _now(self) -> float:
        return self.time.now - self._zero

    def run(self) -> Played:
        """Play the scene to its end."""
        self._duplex.set_microphone(True)
        self._duplex.set_speaker(True)
        for at, sound in self._scene.replies:
            self._script.at(self._zero + at, lambda sound=sound: self._say(sound))  # type: ignore[misc]
        self._script.run(self._zero + self._scene.seconds, self._duplex._turn, self._due_s)
        self.played.erle_db = self._meter.erle_db
        return self.played

    def _due_s(self) -> float:
        return self._duplex._due_s() or 0.02

    def _say(self, sound: Sound) -> None:
        """A reply arrives, faster than it sounds, in pieces of 200 ms. One that still sounds is over."""
        self._duplex.flush()
        self._duplex.set_gate(False, self._turn)
        self._reply += 1
        convert = Resampler(RATE, 24_000)
        wide = convert.process((np.clip(sound, -1, 1) * 32767).astype(np.int16))
        item = f"item{self._reply}"
        for start in range(0, len(wide), 4800):
            self._duplex.push(item, wide[start : start + 4800].tobytes())
        self._duplex.end_item(item)
        self._duplex.end_reply()

    def _told(self, fact: facts.AudioFact) -> None:
        played = self.played
        match fact:
            case facts.VoiceSuspected():
                played.ducks.append(self._now)
            case facts.VoiceCleared():
                played.cleared.append(self._now)
            case facts.VoiceBegan(onset_at):
                played.cuts.append((self._now, onset_at - self._zero))
                self._script.at(self.time.now + TOLD_S, self._interrupt)
            case facts.VoiceStopped():
                played.ends.append(self._now)
                self._script.at(self.time.now + TOLD_S, lambda: self._duplex.set_gate(False, self._turn))
            case facts.Captured(turn, pcm, captured_at):
                played.turns.setdefault(turn, []).append((captured_at - self._zero, pcm))
            case facts.EchoUncontrolled(reason, _):
                played.lost_control.append(reason)
            case _:
                pass

    def _interrupt(self) -> None:
        self._duplex.flush()
        self._turn += 1
        self._duplex.set_gate(True, self._turn)


def learned_ppm(scene: Scene) -> float | None:
    """Play a reply in the scene's room in an earlier life of the device; returns what it keeps of the two clocks."""
    if scene.room.drift_ppm == 0.0 or not scene.replies:
        return None
    stage = Stage(scenes.earlier(scene))
    stage.run()
    return stage._duplex.clock_ppm


def without_drift(scene: Scene) -> Scene:
    """The same scene with one clock for both directions."""
    return replace(scene, room=replace(scene.room, drift_ppm=0.0))
