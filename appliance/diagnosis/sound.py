"""Microphone, loudspeaker and what calibration found of the two.

Responsible for: trying them while no daemon does, naming who holds a busy card, and the verdict about hearing while it
speaks. Not for: measuring (``voice-appliance calibrate``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from appliance import calibrated
from appliance.audio import alsa, wavfile
from appliance.audio.capturer import CapturePcm, check_microphones
from appliance.audio.cards import Cards
from appliance.audio.format import from_device
from appliance.audio.health import ZERO_S
from appliance.audio.loop import judge
from appliance.config import Loaded
from appliance.diagnosis.finding import Finding, failed, note, ok, trouble
from appliance.diagnosis.running import MICROPHONE
from appliance.errors import ApplianceError

PROC = Path("/proc")
LOOK_S = 0.02


def cards(loaded: Loaded) -> Iterator[Finding]:
    """Say whether the cards that the configuration names are there. Opens nothing."""
    known = alsa.card_names()
    for word, name in (("microphone", loaded.config.audio.capture), ("loudspeaker", loaded.config.audio.playback)):
        wanted = re.search(r"CARD=([^,]+)", name)
        if wanted and wanted[1] not in known:
            listed = ", ".join(known) or "none"
            remedy = f"is it plugged in, and its driver's dtoverlay set? cards: {listed}"
            yield trouble(word, f"there is no card {wanted[1]} ({name})", remedy)


def trial(loaded: Loaded) -> Iterator[Finding]:
    """Open microphone and loudspeaker, and listen for a moment. Blocks for up to three seconds; nothing is kept."""
    audio = loaded.config.audio
    try:
        check_microphones(audio.microphones)
        opened = Cards(audio, loaded.board, time.monotonic)
        pcm = opened.open_capture()
    except ApplianceError as error:
        yield _failed("microphone", error)
    else:
        try:
            yield _heard(pcm, audio.microphones, audio.capture)
        except ApplianceError as error:
            yield failed("microphone", error)
        finally:
            pcm.close()
    try:
        speaker = Cards(audio, loaded.board, time.monotonic).open_playback()
    except ApplianceError as error:
        yield _failed("loudspeaker", error)
    else:
        speaker.close()
        yield ok("loudspeaker", f"{audio.playback}, {speaker.rate} Hz, {speaker.channels} channel(s), {speaker.format}")


def _heard(pcm: CapturePcm, microphones: tuple[int, ...], name: str) -> Finding:
    """Listen until every chosen channel has changed its value, :data:`ZERO_S` at most."""
    what = f"{name}, {pcm.rate} Hz, {pcm.channels} channel(s), {pcm.format}"
    if name.startswith(wavfile.PREFIX):
        return ok("microphone", what)
    ends_s, dead, first = time.monotonic() + ZERO_S, set(microphones), None
    while dead and time.monotonic() < ends_s:
        frames = from_device(pcm.read() or b"", pcm.format, pcm.channels)
        if len(frames):
            first = frames[0] if first is None else first
            dead -= {channel for channel in dead if (frames[:, channel] != first[channel]).any()}
        time.sleep(LOOK_S)
    if first is None:
        return trouble("microphone", f"{name} opens, but no sound comes", "unplug it and plug it in again")
    if dead:
        words, remedy = MICROPHONE["zero"]
        return trouble("microphone", f"{words} (channel {', '.join(map(str, sorted(dead)))} of {name})", remedy)
    return ok("microphone", f"{what}; it hears")


def _failed(word: str, error: ApplianceError) -> Finding:
    holders = sorted(_holders()) if "busy" in error.message else []
    if holders:
        return trouble(word, f"{error.message}, by {', '.join(holders)}", "stop that program")
    return failed(word, error)


def _holders() -> Iterator[str]:
    """Name the programs that have a PCM open, as the kernel tells."""
    for path in PROC.glob("asound/card*/pcm*/sub*/status"):
        try:
            owner = re.search(r"owner_pid\s*:\s*(\d+)", path.read_text())
            if owner:
                yield f"{(PROC / owner[1] / 'comm').read_text().strip()} (process {owner[1]})"
        except OSError:
            continue  # it has ended meanwhile


def calibration(loaded: Loaded) -> Finding:
    """Say what calibration found of the configured loop."""
    found = calibrated.load(Path(loaded.config.state.directory), calibrated.key_of(loaded))
    if found is None:
        what = "not measured yet with this board, these cards and these microphones"
        itself = "it does so by itself while idle, or " if loaded.board.calibrate == "first_start" else ""
        return note("calibration", what, f"{itself}run `voice-appliance calibrate`")
    verdict = judge(found.loop)
    if verdict.known and verdict.full_duplex:
        return ok("calibration", f"{verdict} ({found.at})")
    what = str(verdict).removesuffix(f"; {verdict.hint}")
    return trouble("calibration", f"{what} ({found.at})", verdict.hint or "run `voice-appliance calibrate` again")
