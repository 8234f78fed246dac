"""What the user says: from appended audio to committed, recognised items.

Responsible for: ``input_audio_buffer.*``, turns found by the detector, transcription, and asking again when
nobody speaks. Not for: the buffer's samples (``hearing``) or the reply (``responder``).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from appliance.local.audio import Sound
from appliance.local.hearing import MIN_COMMIT_MS, InputBuffer
from appliance.local.items import Conversation, Item, decode_base64, new_id
from appliance.local.responses import Emit
from appliance.local.schema import Json, Refused, invalid
from appliance.local.speech import Listener
from appliance.local.turns import VoiceStarted
from appliance.local.usage import heard_tokens, text_tokens

_MAX_APPEND_BYTES = 15 * 2**20


class Listening:
    """The hearing half of a session."""

    def __init__(
        self,
        audio_input: Json,
        conversation: Conversation,
        *,
        listener: Listener,
        emit: Emit,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        interrupt: Callable[[], None],
        respond: Callable[[], None],
    ) -> None:
        """Make it.

        Args:
            audio_input: ``audio.input`` of the effective configuration.
            conversation: where committed items go.
            listener: recognises speech.
            emit: sends an event, ``emit(type, **fields)``.
            spawn: runs a coroutine beside the session.
            interrupt: ends the response that is being spoken, if there is one.
            respond: asks for a response that no client event asked for.
        """
        self._settings = audio_input
        self._conversation = conversation
        self._listener = listener
        self._emit = emit
        self._spawn = spawn
        self._interrupt = interrupt
        self._respond = respond
        self._input = InputBuffer(audio_input["format"], audio_input["turn_detection"])
        self._turn: tuple[str, float] | None = None  # item id and begin of the turn being spoken
        self._idle: asyncio.TimerHandle | None = None

    def configure(self, audio_input: Json) -> None:
        """Take a new ``audio.input``; a turn under way is forgotten if its detector changed."""
        if audio_input["turn_detection"] != self._settings["turn_detection"]:
            self.stop_idleness()
        self._settings = audio_input
        self._input.configure(audio_input["format"], audio_input["turn_detection"])
        if not self._input.speaking:
            self._turn = None

    def append(self, encoded: str) -> None:
        """Take audio in base64.

        Raises:
            Refused: it is none, or too much at once.
        """
        data = decode_base64(encoded, "audio")
        if len(data) > _MAX_APPEND_BYTES:
            raise invalid("audio", f"at most {_MAX_APPEND_BYTES} bytes of audio are taken at once")
        try:
            facts = self._input.append(data)
        except ValueError:
            raise invalid("audio", "16-bit samples are expected, got an odd number of bytes") from None
        for fact in facts:
            if isinstance(fact, VoiceStarted):
                self._speech_started(fact.at_ms)
            else:
                self._speech_stopped(fact.at_ms)

    def _speech_started(self, at_ms: int) -> None:
        detection = self._settings["turn_detection"] or {}
        begin_ms = max(self._input.begin_ms, at_ms - detection.get("prefix_padding_ms", 300))
        item_id = new_id("item")
        self._turn = (item_id, begin_ms)
        self.stop_idleness()
        self._emit("input_audio_buffer.speech_started", audio_start_ms=round(begin_ms), item_id=item_id)
        if detection.get("interrupt_response"):
            self._interrupt()

    def _speech_stopped(self, at_ms: int) -> None:
        assert self._turn is not None
        item_id, begin_ms = self._turn
        self._turn = None
        self._emit("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=item_id)
        self._commit(item_id, self._input.take_turn(begin_ms, at_ms))
        if self._settings["turn_detection"]["create_response"]:
            self._respond()

    def commit_by_client(self) -> None:
        """Make an item of the buffer.

        Raises:
            Refused: ``input_audio_buffer_commit_empty``, under 100 ms.
        """
        length_ms = self._input.length_ms
        if length_ms < MIN_COMMIT_MS:
            raise Refused(
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{MIN_COMMIT_MS}ms of audio, but buffer only has {length_ms:.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        self._end_turn_early()
        self._commit(new_id("item"), self._input.take())

    def clear(self) -> None:
        """Forget what was not committed."""
        self._input.take()
        self._end_turn_early()
        self._emit("input_audio_buffer.cleared")

    def _end_turn_early(self) -> None:
        self._turn = None
        self._input.forget_turn()

    def _commit(self, item_id: str, sound: Sound) -> None:
        part = {"type": "input_audio", "transcript": None}
        wire = {"id": item_id, "object": "realtime.item", "type": "message", "status": "completed", "role": "user"}
        item = Item({**wire, "content": [part]}, [sound])
        previous = self._conversation.insert(item)
        self._emit("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous)
        self.announce(item, previous)

    def announce(self, item: Item, previous: str | None) -> None:
        """Tell the client of a new item and recognise what was said in it."""
        self._emit("conversation.item.added", previous_item_id=previous, item=item.public())
        self._emit("conversation.item.done", previous_item_id=previous, item=item.public())
        self.recognise(item, self._settings["transcription"])

    def recognise(self, item: Item, transcription: Json | None) -> None:
        """Begin to recognise what was said in the item; ``item.heard`` will hold it."""
        if item.sounds:
            item.heard = asyncio.get_running_loop().create_future()
            self._spawn(self._hear(item, item.heard, transcription))

    async def _hear(self, item: Item, heard: asyncio.Future[str], transcription: Json | None) -> None:
        """Recognise what was said; tell the client only if it asked for transcripts."""
        texts = [await self._listener.hear(sound) for sound in item.sounds]
        heard.set_result(" ".join(filter(None, texts)))
        if transcription is None:
            return
        spoken = [i for i, part in enumerate(item.wire["content"]) if part["type"] == "input_audio"]
        for index, words, sound in zip(spoken, texts, item.sounds, strict=True):
            item.wire["content"][index]["transcript"] = words
            where = {"item_id": item.id, "content_index": index}
            kind = "conversation.item.input_audio_transcription"
            if words:
                self._emit(f"{kind}.delta", **where, delta=words)
            self._emit(f"{kind}.completed", **where, transcript=words, usage=_transcription_usage(sound, words))

    def watch_idleness(self, spoken_ms: float) -> None:
        """A response of ``spoken_ms`` is over: once it is played and nobody speaks for a while, ask again."""
        wait_ms = (self._settings["turn_detection"] or {}).get("idle_timeout_ms")
        self.stop_idleness()
        if wait_ms is None:
            return
        start_ms = self._input.end_ms + spoken_ms
        delay_s = (spoken_ms + wait_ms) / 1000
        fire = functools.partial(self._idle_for_too_long, start_ms)
        self._idle = asyncio.get_running_loop().call_later(delay_s, fire)

    def stop_idleness(self) -> None:
        """Something happens: nobody needs to be asked."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _idle_for_too_long(self, start_ms: float) -> None:
        self._idle = None
        item_id = new_id("item")
        end_ms = self._input.end_ms
        begin_ms = min(start_ms, end_ms)
        span = {"audio_start_ms": round(begin_ms), "audio_end_ms": round(end_ms)}
        self._emit("input_audio_buffer.timeout_triggered", **span, item_id=item_id)
        self._commit(item_id, self._input.take_turn(begin_ms, end_ms))
        self._respond()


def _transcription_usage(sound: Sound, words: str) -> Json:
    audio, written = heard_tokens(sound.length_ms), text_tokens(words)
    return {
        "type": "tokens",
        "input_tokens": audio,
        "output_tokens": written,
        "total_tokens": audio + written,
        "input_token_details": {"audio_tokens": audio, "text_tokens": 0},
    }
