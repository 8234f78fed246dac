"""What the witnesses saw: the card's record of the loudspeaker, the server's record of each turn.

Responsible for: laying a reply beside what sounded of it, and an utterance beside the turn that it was made into.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from tests.acoustic.voices import RATE
from tests.fakes.realtime_server import RealtimeServer
from tests.scenarios.home import Samples, best_lag, correlation
from tests.scenarios.room import Talk

SESSION_RATE = 24_000
STEP = RATE // 100
HEARD = 100  # a sample of the reply that is louder sounds even when ducked


def turns_of(server: RealtimeServer) -> list[Samples]:
    """Microphone audio, 24 kHz, of each turn that the appliance committed; last what belongs to none."""
    found = [b""]
    for heard in server.heard:
        match heard.event["type"]:
            case "input_audio_buffer.append":
                found[-1] += base64.b64decode(heard.event["audio"])
            case "input_audio_buffer.commit":
                found.append(b"")
            case "input_audio_buffer.clear":
                found[-1] = b""
    return [np.frombuffer(pcm, np.int16) for pcm in found]


@dataclass(frozen=True, slots=True)
class Sounded:
    """A reply, and what the loudspeaker made of it; both 16 kHz."""

    spoken: Samples
    reply: Samples
    at: int  # frame at which the reply began

    def gains_db(self, start: int, stop: int) -> NDArray[np.float64]:
        """By how much the reply was raised, for each 10 ms of frames in which it has something to say."""
        found = []
        for frame in range(start, stop - STEP, STEP):
            wanted = self.reply[frame - self.at :][:STEP].astype(float)
            if np.sqrt(np.mean(wanted**2)) > 10 * HEARD / 3:
                got = self.spoken[frame : frame + STEP].astype(float)
                found.append(10 * np.log10((np.mean(got**2) + 1e-3) / np.mean(wanted**2)))
        return np.array(found)

    def silent_from(self, start: int, stop: int) -> int:
        """The frame after the last sound in a stretch."""
        return start + int(np.flatnonzero(self.spoken[start:stop])[-1]) + 1

    def unheard(self, start: int, stop: int) -> bool:
        """Say whether the reply has something to say in these frames."""
        return bool(np.any(np.abs(self.reply[max(0, start - self.at) : max(0, stop - self.at)].astype(int)) > HEARD))


def sounded(spoken: Samples, pcm: bytes) -> Sounded:
    """Find the reply of ``pcm`` (24 kHz), of which a second sounded at least, in what was spoken."""
    whole = np.frombuffer(pcm, np.int16)
    reply: Samples = soxr.resample(whole, SESSION_RATE, RATE)
    return Sounded(spoken, reply, best_lag(spoken, reply[:RATE]))


@dataclass(frozen=True, slots=True)
class Found:
    """Where an utterance lies in a turn; negative is before the turn's first sample."""

    begin_ms: float
    end_ms: float  # from the utterance's last word to the turn's last sample
    begin_likeness: float  # correlation of the first 300 ms
    likeness: float  # of all that is there


def found_in(turn: Samples, talk: Talk) -> Found:
    """Lay an utterance beside a turn."""
    said: Samples = soxr.resample(talk.sound, RATE, SESSION_RATE)
    lead = np.zeros(SESSION_RATE, np.int16)
    padded = np.concatenate((lead, turn, lead))
    at = best_lag(padded, said)
    first, whole = 3 * SESSION_RATE // 10, min(len(said), len(padded) - at)
    last = at + (talk.stop - talk.at) * SESSION_RATE // RATE
    return Found(
        (at - len(lead)) * 1000 / SESSION_RATE,
        (len(lead) + len(turn) - last) * 1000 / SESSION_RATE,
        correlation(padded[at : at + first], said[:first]),
        correlation(padded[at : at + whole], said[:whole]),
    )
