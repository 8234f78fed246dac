"""In the guest: presses the button, says a recording into the card, records the loudspeaker and the LED's line.

Usage: talk.py QUESTION.wav REPLY.raw LED.json. Run by the appliance's own Python; prints what happened when.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

import alsaaudio

LINES = Path("/run/board")
RATE, FRAMES = 48_000, 960
# A slow machine needs its time to open the microphone; a hand waits for the light.
BEFORE_S, AFTER_S, LONGEST_S, LINGER_S = 2.0, 0.3, 90.0, 3.0
BEGAN = time.monotonic()
events: list[tuple[int, str]] = []
stop = threading.Event()


def note(what: str) -> None:
    """Note what happened, and when."""
    events.append((round((time.monotonic() - BEGAN) * 1000), what))


def watch_led() -> None:
    """Note every change of the line, as the kernel sees it."""
    line, shown = LINES / "sim_gpio25/value", ""
    while not stop.is_set():
        now = line.read_text().strip()
        if now != shown:
            note(f"led {now}")
            shown = now
        time.sleep(0.01)


def record(path: Path) -> None:
    """Record what the loudspeaker is given: the other end of its cable."""
    ear = alsaaudio.PCM(
        alsaaudio.PCM_CAPTURE,
        device="plughw:CARD=Loopback,DEV=1,SUBDEV=1",
        rate=RATE,
        channels=1,
        format=alsaaudio.PCM_FORMAT_S16_LE,
        periodsize=FRAMES,
    )
    with path.open("wb") as file:
        while not stop.is_set():
            frames, data = ear.read()
            if frames > 0:
                file.write(data)


def say(path: str) -> None:
    """Play a recording into the microphone."""
    mouth = alsaaudio.PCM(
        alsaaudio.PCM_PLAYBACK,
        device="plughw:CARD=Loopback,DEV=0,SUBDEV=0",
        rate=RATE,
        channels=1,
        format=alsaaudio.PCM_FORMAT_S16_LE,
        periodsize=FRAMES,
    )
    with wave.open(path) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (RATE, 1, 2)
        words = sound.readframes(sound.getnframes())
    quiet = bytes(2 * FRAMES)
    for _ in range(int(BEFORE_S * RATE / FRAMES)):
        mouth.write(quiet)
    note("question")
    for at in range(0, len(words), 2 * FRAMES):
        mouth.write(words[at : at + 2 * FRAMES].ljust(2 * FRAMES, b"\0"))
    for _ in range(int(AFTER_S * RATE / FRAMES)):
        mouth.write(quiet)


def pull(direction: str) -> None:
    """Move the button's line, as a finger does."""
    (LINES / "sim_gpio17/pull").write_text(direction)


def turns() -> int:
    """Count the turns that are over: each is one line of the journal."""
    journal = ["journalctl", "--unit=voice-appliance", "--output=cat", "--grep=turn {"]
    return subprocess.run(journal, capture_output=True, text=True, check=False).stdout.count("turn {")


def main() -> int:
    """Press, ask, let go, wait for the end of the turn."""
    threads = [threading.Thread(target=watch_led), threading.Thread(target=record, args=(Path(sys.argv[2]),))]
    for thread in threads:
        thread.start()
    before = turns()
    note("press")
    pull("pull-down")
    say(sys.argv[1])
    note("release")
    pull("pull-up")
    deadline = time.monotonic() + LONGEST_S
    while turns() == before and time.monotonic() < deadline:
        time.sleep(1)
    note("turn over" if turns() > before else "no turn")
    time.sleep(LINGER_S)
    stop.set()
    for thread in threads:
        thread.join()
    Path(sys.argv[3]).write_text(json.dumps(events))
    print(json.dumps(events))
    return 0


sys.exit(main())
