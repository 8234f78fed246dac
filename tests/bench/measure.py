"""From notes to figures: what the card and the server saw of each turn, for either client the same way.

Responsible for: latencies, truncation and gaps. Not for: driving turns (``story``) or costs (``cost``). The
client itself is asked nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tests.bench.signals import SESSION_RATE, Heard, Noise, hear, locate
from tests.bench.story import Turn
from tests.fakes.card import VirtualCard
from tests.fakes.realtime_server import RealtimeServer

ALIKE = 0.9
MISSING_S = 0.003  # a complete reply that sounded for less (or more) lost a piece


class Lost(RuntimeError):
    """What was said cannot be found in what arrived, or a reply not in what sounded."""


@dataclass
class Figures:
    """Milliseconds, one value a turn (or a frame of microphone audio)."""

    press_to_capture: list[float] = field(default_factory=list)
    mic_to_wire: list[float] = field(default_factory=list)  # age of the oldest sample of a frame
    mic_to_wire_newest: list[float] = field(default_factory=list)
    tail_lost: list[float] = field(default_factory=list)  # speech that had ended before the release, and is missing
    first_delta_to_speaker: list[float] = field(default_factory=list)
    overhead: list[float] = field(default_factory=list)
    barge_in: list[float] = field(default_factory=list)
    truncation_error: list[float] = field(default_factory=list)
    gaps: int = 0
    gapped: int = 0  # replies with at least one
    lost: int = 0  # turns that could not be measured

    def add(self, turn: Turn, noise: Noise, card: VirtualCard, server: RealtimeServer) -> None:
        """Take the measure of one turn."""
        self._uplink(turn, noise, card)
        self._reply(turn, card, server)

    def _uplink(self, turn: Turn, noise: Noise, card: VirtualCard) -> None:
        ratio = card.rate // SESSION_RATE
        said = noise.card[turn.noise_at * ratio : (turn.noise_at + turn.noise_samples) * ratio]
        got = np.frombuffer(b"".join(pcm for _, pcm in turn.appends), "<i2")
        at, alike = locate(got, said, card.rate)
        if alike < ALIKE:
            raise Lost(f"what arrived is not what was said: {alike:.2f} alike")
        frame = turn.noise_frame + at
        self.press_to_capture.append((frame - card.frame_at(turn.pressed_at)) * 1000 / card.rate)
        for arrived_at, pcm in turn.appends:
            arrived_frame, oldest = card.frame_at(arrived_at), frame
            frame += len(pcm) // 2 * ratio
            self.mic_to_wire.append((arrived_frame - oldest) * 1000 / card.rate)
            self.mic_to_wire_newest.append((arrived_frame - frame) * 1000 / card.rate)
        self.tail_lost.append(max(0.0, (turn.speech_end_frame - frame) * 1000 / card.rate))

    def _reply(self, turn: Turn, card: VirtualCard, server: RealtimeServer) -> None:
        sent_frame = card.frame_at(turn.first_delta_at)
        start = int(sent_frame) - card.rate // 100
        heard = hear(card.spoken(start, turn.until_frame)[:, 0], card.rate)
        if heard is None:
            raise Lost("a reply was not heard")
        to_speaker = (start + heard.first - sent_frame) * 1000 / card.rate
        self.first_delta_to_speaker.append(to_speaker)
        server_ms = (turn.first_delta_at - turn.asked_at) * 1000
        speech_end_to_sound = (start + heard.first - turn.speech_end_frame) * 1000 / card.rate
        self.overhead.append(speech_end_to_sound - server_ms)
        if turn.cut_at is not None:
            silent = start + heard.stop - card.frame_at(turn.cut_at)
            self.barge_in.append(silent * 1000 / card.rate)
            self._truncation(turn, heard, card, server)
            missing = False
        else:
            missing = abs(heard.sounded / card.rate - turn.reply_s) > MISSING_S
        gaps = heard.gaps + missing
        self.gaps += gaps
        self.gapped += gaps > 0

    def _truncation(self, turn: Turn, heard: Heard, card: VirtualCard, server: RealtimeServer) -> None:
        told = [e for e in server.of("conversation.item.truncate") if e["item_id"] == turn.item_id]
        if not told:
            raise Lost(f"{turn.item_id} was interrupted and not truncated")
        self.truncation_error.append(float(told[0]["audio_end_ms"]) - heard.sounded * 1000 / card.rate)
