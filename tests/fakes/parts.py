"""Stand-ins for what the engine drives: they write down what they are told, in one order, and do nothing."""

from __future__ import annotations

from typing import Any

from appliance.conversation.effects import Sound
from appliance.realtime.protocol import Protocol


class RecordedDuplex:
    """The calls of ``audio.duplex.Duplex`` that the engine makes."""

    def __init__(self, told: list[tuple[Any, ...]]) -> None:
        self._told = told
        self._pushes = 0

    def push(self, item_id: str, pcm: bytes) -> int:
        self._pushes += 1
        self._told.append(("push", item_id, len(pcm)))
        return self._pushes

    def set_microphone(self, wanted: bool) -> None:
        self._told.append(("microphone", wanted))

    def set_speaker(self, wanted: bool) -> None:
        self._told.append(("speaker", wanted))

    def set_gate(self, is_open: bool, turn: int) -> None:
        self._told.append(("gate", is_open, turn))

    def end_item(self, item_id: str) -> None:
        self._told.append(("end_item", item_id))

    def end_reply(self) -> None:
        self._told.append(("end_reply",))

    def flush(self) -> None:
        self._told.append(("flush",))

    def cue(self, sound: Sound) -> None:
        self._told.append(("cue", sound.value))


class RecordedSession:
    """A ``realtime.session.Session`` whose socket is the test."""

    def __init__(self, told: list[tuple[Any, ...]], protocol: Protocol) -> None:
        self._told, self._protocol = told, protocol
        self.wanted = False

    def open(self) -> None:
        self._told.append(("open",))
        self.wanted = True

    def close(self) -> None:
        self._told.append(("close",))
        if self.wanted:
            self._protocol.disconnected()
        self.wanted = False

    def flush(self) -> None:
        """The test takes the frames when it looks."""
