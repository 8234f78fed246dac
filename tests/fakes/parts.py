"""Stand-ins for what the engine drives: they write down what they are told, in one order, and do nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from appliance.audio.loop import Loop
from appliance.conversation.effects import Sound
from appliance.realtime.protocol import Protocol
from appliance.realtime.session import Need


class RecordedDuplex:
    """The calls of ``audio.duplex.Duplex`` that the engine and the first start make."""

    def __init__(self, told: list[tuple[Any, ...]]) -> None:
        self._told = told
        self._pushes = 0
        self._on_done: Callable[[Loop | None], None] | None = None
        self.cancels = True
        self.barred = self.gate_open = False
        self.asked_at: float | None = None

    def push(self, item_id: str, pcm: bytes) -> int:
        self._pushes += 1
        self._told.append(("push", item_id, len(pcm)))
        return self._pushes

    def set_microphone(self, wanted: bool) -> None:
        self._told.append(("microphone", wanted))
        self.found(None)

    def bar_microphone(self, barred: bool) -> None:
        self.barred = barred

    def set_reference(self, late_ms: float) -> None:
        self._told.append(("reference", late_ms))

    def calibrate(self, canceller: str, on_done: Callable[[Loop | None], None]) -> None:
        self._told.append(("calibrate", canceller))
        self._on_done = on_done

    def found(self, loop: Loop | None) -> None:
        """End the calibration, if one is under way."""
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(loop)

    def set_speaker(self, wanted: bool) -> None:
        self._told.append(("speaker", wanted))

    def set_gate(self, is_open: bool, turn: int, asked_at: float | None = None) -> None:
        self._told.append(("gate", is_open, turn))
        self.gate_open, self.asked_at = is_open, asked_at

    def end_item(self, item_id: str) -> None:
        self._told.append(("end_item", item_id))

    def end_reply(self) -> None:
        self._told.append(("end_reply",))

    def flush(self) -> None:
        self._told.append(("flush",))

    def say(self, words: Sequence[str], *, afresh: bool) -> None:
        self._told.append(("say", tuple(words), afresh))

    def cue(self, sound: Sound) -> None:
        self._told.append(("cue", sound.value))


class RecordedSession:
    """A ``realtime.session.Session`` whose socket is the test."""

    def __init__(self, told: list[tuple[Any, ...]], protocol: Protocol) -> None:
        self._told, self._protocol = told, protocol
        self.wanted = False
        self.trouble = ""
        self.needs: list[Need] = []
        self.reasons: list[str] = []

    def open(self, need: Need) -> None:
        self._told.append(("open",))
        self.needs.append(need)
        self.wanted = True

    def close(self, reason: str) -> None:
        self._told.append(("close",))
        self.reasons.append(reason)
        if self.wanted:
            self._protocol.disconnected()
        self.wanted = False

    def flush(self) -> None:
        """The test takes the frames when it looks."""
