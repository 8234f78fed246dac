"""Which sound card a name means: ALSA, or a WAV file in its place.

Responsible for: opening by name, and the mixer settings of the board. Not for: anything about an open card.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from appliance.audio import alsa, mixer, wavfile
from appliance.audio.capturer import CapturePcm
from appliance.audio.format import Samples
from appliance.audio.speaker import PlaybackPcm
from appliance.board import Board
from appliance.config import Audio
from appliance.errors import DeviceError


class Cards:
    """Opens microphone and loudspeaker as configuration and board name them."""

    def __init__(self, audio: Audio, board: Board, clock: Callable[[], float]) -> None:
        self._audio, self._board, self._clock = audio, board, clock
        alsa.be_quiet()
        self._heard = [0]
        self._sounded: list[Samples] = []

    def make_mixer_settings(self) -> str:
        """Make the settings that the board needs; say what could not be made, empty if nothing. Blocks for a moment."""
        return mixer.make(self._board, self._audio)

    def have_mixers(self) -> bool:
        """Say whether the mixers that the board's settings are of are there. Blocks for a moment."""
        return mixer.there(self._board, self._audio)

    def open_capture(self) -> CapturePcm:
        """Open the microphone.

        Raises:
            DeviceError: it cannot be opened, or gives what cannot be converted.
        """
        pcm = self._open_capture(self._audio.capture)
        if max(self._audio.microphones) >= pcm.channels:
            pcm.close()
            raise DeviceError(
                f"audio.microphones = {list(self._audio.microphones)}: the card gives {pcm.channels} channel(s)",
                hint=f"use channels 0 to {pcm.channels - 1}",
            )
        reference = self._board.capture.reference
        if reference is not None and reference >= pcm.channels:
            pcm.close()
            raise DeviceError(
                f"capture.reference = {reference} of the board: the card gives {pcm.channels} channel(s)",
                hint="copy the board profile, leave capture.reference out, and set capture.channels",
            )
        return pcm

    def _open_capture(self, name: str) -> CapturePcm:
        if name.startswith(wavfile.PREFIX):
            return wavfile.WavCapture(Path(name.removeprefix(wavfile.PREFIX)), self._clock, self._heard)
        channels = max(self._board.capture.channels, max(self._audio.microphones) + 1)
        return alsa.Capture(name, self._board.capture.rate, channels)

    def open_playback(self) -> PlaybackPcm:
        """Open the loudspeaker.

        Raises:
            DeviceError: it cannot be opened, or takes nothing that we can convert to.
        """
        name = self._audio.playback
        if name.startswith(wavfile.PREFIX):
            return wavfile.WavPlayback(Path(name.removeprefix(wavfile.PREFIX)), self._clock, self._sounded)
        return alsa.Playback(name, self._board.playback.rate, self._board.playback.channels)
