"""What happens in a room: a reply that nobody interrupts, or people who do.

Responsible for: the script of a scene and everything that the microphones hear besides the echo, rendered before it
begins. Not for: playing it (``stage``) or judging it (``score``). All from the room's seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tests.acoustic import rooms
from tests.acoustic.rooms import Room
from tests.acoustic.voices import RATE, Sound, Split, Utterance, active_level, reply, utterances

Kind = Literal["echo", "barge-in", "listening"]
ECHO_SECONDS = 60.0
TRIALS = 4
LEAD_S = (2.0, 6.0)  # of reply before somebody interrupts
WARM_UP_S = 10.0  # of an earlier reply, which nobody interrupts: hardly anybody interrupts the first one in its life
EARLIER_S = 40.0  # of replies in the life before the scene, from which only the pace of the clocks is kept
SOFT_DB = -15.0  # of every second microphone, where nothing sounds: a bare MEMS microphone beside a module with gain
HEAR_OUT_S = 2.0  # after the talker's end, until the next reply begins


@dataclass(frozen=True, slots=True)
class Said:
    """Somebody says something; seconds of the scene in which the voice truly begins and ends."""

    utterance: Utterance
    start_s: float
    stop_s: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A room, a reply, and what else is heard: ``near`` is (mics, samples) at 16 kHz."""

    room: Room
    kind: Kind
    seconds: float
    replies: tuple[tuple[float, Sound], ...]  # when each begins, full scale 1
    near: NDArray[np.float32]
    said: tuple[Said, ...]
    echo_to_talker_db: float
    moved_at_s: float | None
    jump: tuple[float, float] | None  # at which second a buffer grows or shrinks unseen, by so many ms


def echo_only(split: Split, number: int, *, mics: int = 1, seconds: float = ECHO_SECONDS) -> Scene:
    """A reply, and nobody there: everything that is found is the device's own voice."""
    room, rng = _placed(split, number, mics)
    sound, level = _reply_piece(split, room, rng, seconds)
    ratio = float(rng.uniform(9, 20))
    near = _background(room, split, seconds, level * 10 ** (-ratio / 20), rng)
    at, by_ms = float(rng.uniform(0.2, 0.8)) * seconds, float(rng.uniform(-8, 12))
    moved = at if number % 3 == 0 else None
    jump = (at, by_ms) if number % 3 == 1 else None
    return Scene(room, "echo", seconds, ((0.5, sound[:-RATE]),), near, (), ratio, moved, jump)


def barge_ins(split: Split, number: int, *, mics: int = 1, trials: int = TRIALS) -> Scene:
    """Some replies, each interrupted once by a talker whose echo-to-talker ratio is drawn for the room."""
    room, rng = _placed(split, number, mics)
    _, level = _reply_piece(split, room, rng, 10.0)
    ratio = float(rng.uniform(9, 20))
    talker_level = level * 10 ** (-ratio / 20)
    pool = utterances(split)
    names = sorted({u.talker for u in pool})
    said: list[Said] = []
    replies: list[tuple[float, Sound]] = []
    at = 0.5
    replies.append((at, _reply_piece(split, room, rng, WARM_UP_S)[0]))
    at += WARM_UP_S + 0.5
    for trial in range(trials):
        talker = names[(number * trials + trial) % len(names)]  # every talker as often, whoever recorded more
        mine = [u for u in pool if u.talker == talker]
        utterance = mine[int(rng.integers(len(mine)))]
        start = at + float(rng.uniform(*LEAD_S))
        replies.append((at, _reply_piece(split, room, rng, start - at + utterance.seconds + 4)[0]))
        said.append(Said(utterance, start, start + utterance.seconds))
        at = start + utterance.seconds + HEAR_OUT_S
    near = _background(room, split, at, talker_level, rng)
    for one in said:
        _add(near, _wet(one.utterance.sound, room, talker_level), one.start_s)
    return Scene(room, "barge-in", at, tuple(replies), near, tuple(said), ratio, None, None)


def listening(split: Split, number: int, *, mics: int = 1) -> Scene:
    """People talk to a silent device, as after a press or in the follow-up window; every second microphone is soft."""
    scene = barge_ins(split, number, mics=mics)
    gain = np.float32(10 ** (SOFT_DB / 20) if is_soft(number) else 1)
    return replace(scene, kind="listening", replies=(), near=scene.near * gain)


def is_soft(number: int) -> bool:
    """Whether the microphone of this listening scene is a soft one."""
    return number % 2 == 1


def earlier(scene: Scene) -> Scene:
    """A reply in the same room on another day: what the device has learned of its own cards by then, it keeps."""
    rng = np.random.default_rng(scene.room.seed + 9)
    sound, _ = _reply_piece("development", scene.room, rng, EARLIER_S)
    near = rng.normal(0, 10 ** (-72 / 20), (len(scene.room.echo), int((EARLIER_S + 1) * RATE))).astype(np.float32)
    return Scene(scene.room, "echo", EARLIER_S + 1, ((0.5, sound),), near, (), scene.echo_to_talker_db, None, None)


def _placed(split: Split, number: int, mics: int) -> tuple[Room, np.random.Generator]:
    """The room with its echo path scaled to the level at which the microphones hear the reply."""
    room = rooms.draw(split, number, mics)
    rng = np.random.default_rng(room.seed + 5)
    wanted = 10 ** (rng.uniform(-36, -22) / 20)
    _, level = _reply_piece(split, room, np.random.default_rng(room.seed), 10.0)
    gain = np.float32(wanted / level)
    return replace(room, echo=room.echo * gain, moved=room.moved * gain), rng


def _reply_piece(split: Split, room: Room, rng: np.random.Generator, seconds: float) -> tuple[Sound, float]:
    """A stretch of the reply, and how loud its echo is at the first microphone."""
    whole = reply(split)
    count = int(seconds * RATE)
    at = int(rng.integers(len(whole)))
    piece = np.take(whole, np.arange(at, at + count), mode="wrap")
    part = piece[: 10 * RATE]
    echo = rooms.convolved(rooms.distorted(part, room.drive), room.echo[0])[: len(part)]
    return piece, active_level(echo.astype(np.float32))


def _background(
    room: Room, split: Split, seconds: float, level: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The same noise at every microphone, shifted a little: it comes from far away."""
    mics = len(room.echo)
    noise = rooms.noise(room, split, seconds + 0.1, level, rng)
    count = int(seconds * RATE)
    return np.stack([noise[7 * mic : 7 * mic + count] for mic in range(mics)])


def _wet(sound: Sound, room: Room, level: float) -> NDArray[np.float32]:
    wet = np.stack([rooms.convolved(sound, response) for response in room.talker]).astype(np.float32)
    return wet * np.float32(level / max(1e-9, active_level(wet[0])))


def _add(near: NDArray[np.float32], sound: NDArray[np.float32], at_s: float) -> None:
    at = int(at_s * RATE)
    count = min(sound.shape[1], near.shape[1] - at)
    near[:, at : at + count] += sound[:, :count]
