"""Turn detection by the server, over a real socket, with the shipped recording."""

from __future__ import annotations

import asyncio
import base64
import wave
from typing import Any

from appliance.local.items import Conversation
from appliance.local.listening import Listening
from tests.fakes.speech import FakeListener
from tests.local.client import QUESTION, Bench, Client, on_bench

SILENCE = bytes(48 * 700)


def speech() -> bytes:
    with wave.open(str(QUESTION)) as recording:
        return bytes(recording.readframes(recording.getnframes()))


async def talk(client: Client, audio: bytes) -> None:
    for start in range(0, len(audio), 4800):
        await client.append(audio[start : start + 4800])


def test_a_turn_of_the_server_vad() -> None:
    async def story(bench: Bench, client: Client) -> None:
        await client.configure(audio={"input": {"turn_detection": {"type": "server_vad"}}})
        await talk(client, speech() + SILENCE)
        started = await client.until("input_audio_buffer.speech_started")
        stopped = await client.until("input_audio_buffer.speech_stopped")
        committed = await client.until("input_audio_buffer.committed")
        assert started["item_id"] == stopped["item_id"] == committed["item_id"]
        assert started["audio_start_ms"] < 150
        assert 2000 < stopped["audio_end_ms"] < 2400
        reply = (await client.until("response.done"))["response"]
        assert reply["output"][0]["content"][0]["transcript"] == "Seven times six is forty-two."
        heard = bench.listener.sounds[0].length_ms
        assert abs(heard - (stopped["audio_end_ms"] - started["audio_start_ms"])) < 5
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        await client.send("input_audio_buffer.commit")
        assert (await client.error())["code"] == "input_audio_buffer_commit_empty"

    on_bench(story, heard=["What is seven times six?"])


def test_create_response_false_only_commits() -> None:
    async def story(_bench: Bench, client: Client) -> None:
        detection = {"type": "server_vad", "create_response": False}
        await client.configure(audio={"input": {"turn_detection": detection}})
        await talk(client, speech() + SILENCE)
        await client.until("input_audio_buffer.committed")
        await client.send("response.cancel")
        assert (await client.error())["code"] == "response_cancel_not_active"

    on_bench(story)


def test_speech_interrupts_the_response() -> None:
    async def story(bench: Bench, client: Client) -> None:
        await client.configure(audio={"input": {"turn_detection": {"type": "server_vad"}}})
        bench.talker.hold()
        await client.write("Hello")
        await client.send("response.create")
        await client.until("response.created")
        await talk(client, speech())
        await client.until("input_audio_buffer.speech_started")
        done = (await client.until("response.done"))["response"]
        assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}

    on_bench(story)


def test_without_interrupt_response_the_own_response_is_refused() -> None:
    async def story(bench: Bench, client: Client) -> None:
        detection = {"type": "server_vad", "interrupt_response": False}
        await client.configure(audio={"input": {"turn_detection": detection}})
        bench.talker.hold()
        await client.send("response.create")
        await client.until("response.created")
        await talk(client, speech() + SILENCE)
        error = await client.error()
        assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", None)
        bench.talker.release()
        assert (await client.until("response.done"))["response"]["status"] == "completed"

    on_bench(story)


def test_turning_detection_off_in_a_turn_forgets_it() -> None:
    async def story(_bench: Bench, client: Client) -> None:
        await client.configure(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}})
        await talk(client, speech())
        await client.until("input_audio_buffer.speech_started")
        await client.configure(audio={"input": {"turn_detection": None}})
        await talk(client, SILENCE * 4)
        await client.send("input_audio_buffer.commit")
        await client.until("input_audio_buffer.committed")
        assert "input_audio_buffer.speech_stopped" not in client.kinds()

    on_bench(story)


class SkippingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock the test can put forward."""

    skipped_s = 0.0

    def time(self) -> float:
        return super().time() + self.skipped_s


def test_nobody_speaks_for_too_long() -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    asked: list[bool] = []
    loop = SkippingLoop()

    async def story() -> None:
        settings = {
            "format": {"type": "audio/pcm", "rate": 24000},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 500, "idle_timeout_ms": 5000},
            "transcription": None,
        }
        listening = Listening(
            settings,
            Conversation(),
            listener=FakeListener(),
            emit=lambda kind, **fields: events.append((kind, fields)),
            spawn=loop.create_task,
            interrupt=lambda: None,
            respond=lambda: asked.append(True),
        )
        listening.watch_idleness(2000.0)
        listening.append(base64.b64encode(bytes(48 * 3000)).decode())
        loop.skipped_s = 6.9
        await asyncio.sleep(0.01)
        assert not events, "the reply is still being played, or was until just now"
        loop.skipped_s = 7.1
        await asyncio.sleep(0.01)
        listening.watch_idleness(0.0)
        listening.stop_idleness()
        loop.skipped_s = 99
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(story())
    kinds = [kind for kind, _ in events]
    assert kinds[:2] == ["input_audio_buffer.timeout_triggered", "input_audio_buffer.committed"]
    assert kinds.count("input_audio_buffer.timeout_triggered") == 1
    triggered = events[0][1]
    assert (triggered["audio_start_ms"], triggered["audio_end_ms"]) == (2000, 3000)
    assert asked == [True]
