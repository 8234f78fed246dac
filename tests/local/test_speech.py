"""Ears and voice: what surrounds the models, and (marked ``speech``) the models themselves."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import urllib.request
import wave
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect

from appliance.local import cli, speech
from appliance.local.audio import Sound
from appliance.local.minting import Mint
from appliance.local.rules import normalise
from appliance.local.server import Backend, serving
from tests.fakes.speech import FakeListener, FakeTalker
from tests.local.client import KEY, NOW, QUESTION, Bench, Client

CARDS = Path("/usr/share/pocketsphinx/test/data/cards")


def recording(path: Path) -> Sound:
    with wave.open(str(path)) as file:
        return Sound(np.frombuffer(file.readframes(file.getnframes()), np.int16), file.getframerate())


def noise(level: float, length_s: float = 2) -> Sound:
    samples = np.random.default_rng(0).normal(0, level, int(16000 * length_s))
    return Sound(samples.clip(-32768, 32767).astype(np.int16), 16000)


def test_silence_is_trimmed_around_the_voice() -> None:
    sound = recording(QUESTION).at(16000)
    quiet = np.zeros(32000, np.int16)
    padded = Sound(np.concatenate([quiet, sound.samples, quiet]), 16000)
    kept = speech.trimmed(padded)
    assert 1300 <= kept.length_ms <= 2000
    np.testing.assert_array_equal(speech.trimmed(kept).samples[:1000], kept.samples[:1000])


@pytest.mark.parametrize("level", [0, 10, 300, 3000])
def test_what_is_no_voice_is_not_heard(level: float) -> None:
    assert speech.trimmed(noise(level)).length_ms == 0
    assert speech.trimmed(Sound(np.zeros(0, np.int16), 16000)).length_ms == 0


def test_long_speech_is_cut_where_it_is_quiet() -> None:
    samples = noise(3000, 60).samples.copy()
    samples[20 * 16000 : 20 * 16000 + 8000] = 0
    pieces = speech.passes(Sound(samples, 16000))
    assert 20.0 <= pieces[0].length_ms / 1000 <= 20.5
    assert all(piece.length_ms <= 24_000 for piece in pieces)
    np.testing.assert_array_equal(np.concatenate([piece.samples for piece in pieces]), samples)


def test_sentences() -> None:
    assert speech.sentences("It is 3.5. Really? Yes.") == ["It is 3.5.", "Really?", "Yes."]
    assert speech.sentences("") == []


def test_padding_of_a_voice_is_removed() -> None:
    samples = np.concatenate([np.zeros(9600), np.full(2400, 5000), np.zeros(9600)]).astype(np.int16)
    assert speech.without_padding(Sound(samples, 24000)).length_ms == pytest.approx(20 + 100 + 250, abs=1)
    assert speech.without_padding(Sound(samples[:100], 24000)).length_ms == 0


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "key"
    empty.write_text("\n")
    assert cli.main(["serve", "--api-key-file", str(empty)]) == 78
    assert cli.main(["serve", "--api-key-file", str(tmp_path / "none")]) == 78
    assert "cannot be read; check --api-key-file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["serve", "--think-delay-s", "-1"])


@pytest.mark.speech
def test_a_spoken_question_gets_a_spoken_answer() -> None:
    async def story() -> tuple[str, str]:
        ears, voice, _ = await speech.load()
        backend = Backend(Mint(lambda: 0.0), ears, voice, now=lambda: NOW)
        try:
            async with (
                serving(backend, "127.0.0.1", 0) as port,
                Bench(backend, port, FakeListener(), FakeTalker()).session() as client,
            ):
                transcription = {"transcription": {"model": "gpt-transcribe"}, "turn_detection": None}
                await client.configure(audio={"input": transcription})
                await client.append(recording(QUESTION).samples.tobytes())
                await client.send("input_audio_buffer.commit")
                await client.send("response.create")
                await client.until("response.done")
                heard = next(e["transcript"] for e in client.seen if e["type"].endswith("transcription.completed"))
            reply = Sound(np.frombuffer(client.audio(), np.int16), 24000)
            assert 1000 < reply.length_ms < 4000
            return heard, await ears.hear(reply)
        finally:
            ears.close()
            voice.close()

    heard, reply = asyncio.run(story())
    assert heard == "What is seven times six?"
    assert normalise(reply) == "7 times 6 is 42"


@pytest.mark.speech
def test_the_recogniser_on_real_voices_and_on_none() -> None:
    clips = sorted(CARDS.glob("*.wav"))
    if not clips:
        pytest.skip("Debian's pocketsphinx-testdata is not installed")
    lines = (CARDS / "cards.transcription").read_text().splitlines()
    expected = [re.sub(r"<s>|</s>|\(\d+\)", "", line).split() for line in lines]

    async def hear() -> tuple[list[str], list[str]]:
        ears = speech.Moonshine()
        try:
            texts = [await ears.hear(recording(clip)) for clip in clips]
            return texts, [await ears.hear(noise(level)) for level in (0, 300, 3000)]
        finally:
            ears.close()

    texts, nothing = asyncio.run(hear())
    assert nothing == ["", "", ""]
    words = [re.sub(r"[^a-z ]", "", text.lower()).split() for text in texts]
    assert [len(found) for found in words] == [len(wanted) for wanted in expected], "no invented first word"
    right = sum(
        a == b for found, wanted in zip(words, expected, strict=True) for a, b in zip(found, wanted, strict=True)
    )
    assert right / sum(map(len, expected)) >= 0.85


@pytest.mark.speech
def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    code = "import sys; from appliance.local.cli import main; sys.exit(main())"
    arguments = ["serve", "--port", "0", "--api-key-file", str(key)]

    async def story() -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", code, *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        port = re.fullmatch(r"voice-local: listening on http://127\.0\.0\.1:(\d+)\n", line)
        assert port is not None, line
        request = urllib.request.Request(
            f"http://127.0.0.1:{port[1]}/v1/realtime/client_secrets", b"{}", {"Authorization": f"Bearer {KEY}"}
        )
        with await asyncio.to_thread(urllib.request.urlopen, request) as response:
            secret = json.load(response)["value"]
        url = f"ws://127.0.0.1:{port[1]}/v1/realtime?model=gpt-realtime"
        async with connect(url, additional_headers={"Authorization": f"Bearer {secret}"}, max_size=None) as socket:
            client = Client(socket)
            assert (await client.ask("What is one plus one?"))["status"] == "completed"
            process.send_signal(signal.SIGTERM)
            await socket.wait_closed()
        _, errors = await process.communicate()
        assert KEY not in errors.decode()
        assert secret not in errors.decode()
        assert process.returncode is not None
        return process.returncode, errors.decode()

    returncode, errors = asyncio.run(story())
    assert returncode == 0, errors
    assert "Traceback" not in errors
