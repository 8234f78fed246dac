"""The turns that are measured: who says what when, and the notes from which ``measure`` works.

Responsible for: driving a client through turns. Nothing is computed while a client is being measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from tests.bench.rig import Client, wait
from tests.bench.signals import SESSION_RATE, Noise, tone

LEAD_S = 0.1  # the room is noisy for so long before the button is pressed
HOLD_S = 0.55
THINK_S = 0.25  # every other turn; else none, so that the reply begins while an ear-con may still sound
CUT_S = 0.5  # a reply is interrupted this long after its first delta, and up to CUT_SPREAD_S later
CUT_SPREAD_S = 0.6
REST_S = 0.5
SETTLE_S = 1.0  # costs are measured that long after a beginning and before the end
PATIENCE_S = 15.0


@dataclass
class Turn:
    """Notes of one turn. ``*_at`` are monotonic seconds, ``*_frame`` frames of the card."""

    noise_at: int  # first sample of the noise bank (24 kHz) that was said
    noise_samples: int
    noise_frame: int
    speech_end_frame: int
    pressed_at: float
    appends: list[tuple[float, bytes]]
    asked_at: float  # the server got response.create
    first_delta_at: float
    item_id: str
    reply_s: float
    cut_at: float | None = None  # the button was pressed during the reply
    until_frame: int = 0  # the record of this turn's reply ends here


class Storyteller:
    """Talks to one client."""

    def __init__(self, client: Client, noise: Noise) -> None:
        self._client, self._card, self._server = client, client.bench.card, client.bench.server
        self._noise = noise
        self._said = 0  # samples of the noise bank
        self._count = 0

    def complete(self, count: int, reply_s: float, pace: float) -> list[Turn]:
        """Turns whose reply is heard to its end."""
        turns = []
        for _ in range(count):
            turn = self._ask(reply_s, pace)
            _sleep_until(turn.first_delta_at + reply_s + REST_S)
            turn.until_frame = self._card.now()
            turns.append(turn)
        return turns

    def cut(self, count: int, reply_s: float, pace: float) -> list[Turn]:
        """Turns whose reply is interrupted by the press of the next."""
        turns: list[Turn] = []
        for index in range(count):
            turn = self._ask(reply_s, pace)
            self._note_cut(turns, turn)
            turns.append(turn)
            _sleep_until(turn.first_delta_at + CUT_S + CUT_SPREAD_S * (index * 0.618 % 1) - LEAD_S)
        self._note_cut(turns, self._ask(0.2, pace))
        time.sleep(REST_S)
        return turns

    @staticmethod
    def _note_cut(turns: list[Turn], cutting: Turn) -> None:
        if turns:
            turns[-1].cut_at, turns[-1].until_frame = cutting.pressed_at, cutting.speech_end_frame

    def listen(self, seconds: float, watch: Callable[[], float]) -> float:
        """Hold the button and talk; returns what ``watch`` finds meanwhile, which takes it ``seconds``."""
        found: list[float] = []
        self._ask(0.2, 1.0, seconds + 2 * SETTLE_S, lambda: found.append(watch()))
        time.sleep(REST_S)
        return found[0]

    def hear(self, seconds: float, watch: Callable[[], float]) -> float:
        """Listen to a long reply that arrives in real time; returns what ``watch`` finds meanwhile."""
        turn = self._ask(seconds + 2 * SETTLE_S, 1.0)
        time.sleep(SETTLE_S)
        found = watch()
        _sleep_until(turn.first_delta_at + turn.reply_s + REST_S)
        return found

    def _ask(
        self, reply_s: float, pace: float, hold_s: float = HOLD_S, meanwhile: Callable[[], None] = lambda: None
    ) -> Turn:
        """Say something into the microphone with the button held, exactly to its end; wait for the first delta."""
        server, card = self._server, self._card
        self._count += 1
        samples = round((LEAD_S + hold_s) * SESSION_RATE)
        if self._said + samples > len(self._noise.session):
            self._said = 0
        at, ratio = self._said, card.rate // SESSION_RATE
        self._said += samples
        noise_frame = card.say(self._noise.card[at * ratio : (at + samples) * ratio])
        now, now_frame = time.monotonic(), card.now()
        said_at = now + (noise_frame - now_frame) / card.rate
        heard, appends, answers = len(server.heard), len(server.audio), len(server.sent_first_delta_at)
        _sleep_until(said_at + LEAD_S)
        pressed_at = self._client.press()
        meanwhile()
        _sleep_until(said_at + LEAD_S + hold_s / 2)
        # Only now: an interrupted reply was read from the script until a moment ago.
        script = server.script
        script.reply, script.pace, script.think_s = tone(reply_s), pace, THINK_S * (self._count % 2)
        _sleep_until(said_at + LEAD_S + hold_s)
        self._client.release()
        if not wait(lambda: len(server.sent_first_delta_at) > answers, PATIENCE_S):
            kinds = [kind for kind, _ in groupby(str(h.event["type"]) for h in server.heard[heard:])]
            raise TimeoutError(f"no answer within {PATIENCE_S:g} s; since the press the server got {kinds}")
        asked = [h.at for h in server.heard[heard:] if h.event["type"] == "response.create"]
        return Turn(
            noise_at=at,
            noise_samples=samples,
            noise_frame=noise_frame,
            speech_end_frame=noise_frame + samples * ratio,
            pressed_at=pressed_at,
            appends=server.audio[appends:],
            asked_at=asked[0],
            first_delta_at=server.sent_first_delta_at[-1],
            item_id=f"item_resp_{server.responses}",
            reply_s=reply_s,
        )


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.monotonic()))
