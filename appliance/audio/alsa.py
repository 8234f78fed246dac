"""ALSA: the only module that touches alsaaudio.

Responsible for: opening PCMs, reading back what ALSA really gave (every parameter is only a wish to it), setting mixer
controls, and making its return codes into values and errors. Not for: pacing, conversion or what to set (``mixer``).
pyalsaaudio has no ``delay()``: frames until the next written one sounds are buffer size minus ``avail()``.
One thread per PCM: closing one that another thread reads crashes the process.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

import alsaaudio

from appliance.audio.format import BYTES_PER_FRAME
from appliance.board import Setting
from appliance.errors import DeviceError

PERIOD_MS: Final = 10
CAPTURE_PERIODS: Final = 24  # survives a scheduling hole of 240 ms
PLAYBACK_PERIODS: Final = 24
_XRUN: Final = -32


# libasound prints a line of its own for every opening that fails, beside the error it returns: once a second
# while a card is gone. The returned error says the same.
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
_silent = _HANDLER(lambda _file, _line, _function, _code, _text: None)  # kept: libasound holds the pointer


def be_quiet() -> None:
    """Have libasound report errors by their codes only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(_silent)


class Pcm:
    """What capture and playback have in common: the parameters that ALSA really gave."""

    def __init__(self, direction: int, device: str, rate: int, channels: int, periods: int) -> None:
        self.device = device
        self._word = "microphone" if direction == alsaaudio.PCM_CAPTURE else "loudspeaker"
        period = rate * PERIOD_MS // 1000
        self._pcm = self._open(direction, rate, channels, period, periods)
        info = self._pcm.info()
        if info["rate"] != rate:  # period and ring were asked for in frames of another length
            self._pcm.close()
            rate, period = info["rate"], info["rate"] * PERIOD_MS // 1000
            self._pcm = self._open(direction, rate, channels, period, periods)
            info = self._pcm.info()
        least = period * periods // 2
        if info["buffer_size"] < least:  # it has few periods, or short ones: ask for longer ones, or for more
            self._pcm.close()
            few, short = info["buffer_size"] // info["period_size"], info["period_size"]
            longer, more = max(period, least // few), max(periods, least // short)
            try:
                self._pcm = self._open(direction, rate, channels, longer, more)
            except DeviceError:  # it has no memory for that
                self._pcm = self._open(direction, rate, channels, period, periods)
            info = self._pcm.info()
        self.rate: int = info["rate"]
        self.channels: int = info["channels"]
        self.format: str = info["format_name"]
        self.buffer_frames: int = info["buffer_size"]
        self.period_frames: int = info["period_size"]
        if self.format not in BYTES_PER_FRAME or self.rate < 8000:
            offers = f"it offers {self._pcm.getformats()}, rates {self._pcm.getrates()}"
            self._pcm.close()
            raise DeviceError(
                f"{device} ({self._word}) gives {self.format} at {self.rate} Hz, which cannot be converted: {offers}",
                hint="name another ALSA device in [audio], such as plughw:…",
            )
        self.frame_bytes = BYTES_PER_FRAME[self.format] * self.channels

    def _open(self, direction: int, rate: int, channels: int, period: int, periods: int) -> alsaaudio.PCM:
        try:
            return alsaaudio.PCM(
                direction,
                alsaaudio.PCM_NONBLOCK,
                device=self.device,
                rate=rate,
                channels=channels,
                format=alsaaudio.PCM_FORMAT_S16_LE,
                periodsize=period,
                periods=periods,
            )
        except alsaaudio.ALSAAudioError as error:
            raise DeviceError(f"cannot open the {self._word}: {error}", hint=_opening_hint(str(error))) from error

    def _failed(self, error: Exception) -> DeviceError:
        return DeviceError(f"the {self._word} failed: {error}", hint="is it still plugged in?")

    def close(self) -> None:
        """Stop at once and give the device back."""
        with contextlib.suppress(alsaaudio.ALSAAudioError):
            self._pcm.drop()  # else closing waits until everything has sounded
        with contextlib.suppress(alsaaudio.ALSAAudioError):
            self._pcm.close()


class Capture(Pcm):
    """An open microphone, running from the first :meth:`read` on."""

    def __init__(self, device: str, rate: int, channels: int) -> None:
        super().__init__(alsaaudio.PCM_CAPTURE, device, rate, channels, CAPTURE_PERIODS)

    def read(self) -> bytes | None:
        """Return what is there, at most one period, possibly nothing; ``None`` tells of an overrun.

        Raises:
            DeviceError: the device is gone.
        """
        try:
            frames, data = self._pcm.read()
        except alsaaudio.ALSAAudioError as error:
            raise self._failed(error) from error
        if frames == _XRUN:
            return None
        if frames < 0:
            raise self._failed(OSError(f"error {frames}"))
        return bytes(data)

    def waiting(self) -> int:
        """Return the frames captured and not read."""
        return max(0, int(self._pcm.avail()))


class Playback(Pcm):
    """An open loudspeaker. It starts with the first frame written; write a cushion at once."""

    def __init__(self, device: str, rate: int, channels: int) -> None:
        super().__init__(alsaaudio.PCM_PLAYBACK, device, rate, channels, PLAYBACK_PERIODS)

    def write(self, data: bytes) -> int | None:
        """Write as much as fits; returns the frames taken, ``None`` after an underrun (then nothing was).

        Raises:
            DeviceError: the device is gone.
        """
        try:
            taken = int(self._pcm.write(data))
        except alsaaudio.ALSAAudioError as error:
            raise self._failed(error) from error
        if taken == _XRUN:
            return None
        if taken < 0:
            raise self._failed(OSError(f"error {taken}"))
        return taken

    def delay(self) -> int | None:
        """Return the frames between now and the sounding of the next one written; ``None`` after an underrun."""
        avail = int(self._pcm.avail())
        return None if avail < 0 else max(0, self.buffer_frames - avail)

    def drop(self) -> None:
        """Silence at once; what was not heard is discarded. The next write starts again.

        Raises:
            DeviceError: the device is gone.
        """
        try:
            self._pcm.drop()
        except alsaaudio.ALSAAudioError as error:
            raise self._failed(error) from error


def _opening_hint(text: str) -> str:
    if "busy" in text:
        return "another program uses it: stop that program"
    if "No such" in text or "Unknown PCM" in text:
        known = ", ".join(device_names()[:12]) or "none"
        return f"is it plugged in? known names: {known}; `voice-appliance devices` lists them"
    return "`voice-appliance devices` lists what is there"


def device_names() -> list[str]:
    """List the names under which ALSA knows PCMs."""
    names: list[str] = []
    for direction in (alsaaudio.PCM_CAPTURE, alsaaudio.PCM_PLAYBACK):
        with contextlib.suppress(alsaaudio.ALSAAudioError):
            names += [name for name in alsaaudio.pcms(direction) if name not in names]
    return names


def card_names() -> list[str]:
    """List the sound cards of this machine."""
    return list(alsaaudio.cards())


def has_mixer(device: str) -> bool:
    """Say whether a mixer can be opened."""
    try:
        alsaaudio.mixers(device=device)
    except alsaaudio.ALSAAudioError:
        return False
    return True


def set_control(device: str, setting: Setting) -> None:
    """Set one control of a mixer, all its channels alike.

    Raises:
        DeviceError: no such card or control, or one that cannot be set so.
    """
    what = f"mixer control {setting.control!r} of {device}"
    try:
        mixer = alsaaudio.Mixer(setting.control, device=device)
    except alsaaudio.ALSAAudioError as error:
        raise DeviceError(f"{what}: {error}", hint="`amixer scontrols` lists what the card has") from error
    try:
        _set(mixer, setting, what)
    except alsaaudio.ALSAAudioError as error:
        raise DeviceError(f"{what}: {error}", hint="`amixer scontents` shows what it can be") from error
    finally:
        mixer.close()


def _set(mixer: alsaaudio.Mixer, setting: Setting, what: str) -> None:
    pcm = alsaaudio.PCM_CAPTURE if setting.direction == "capture" else alsaaudio.PCM_PLAYBACK
    if setting.choice is not None:
        known = mixer.getenum()  # () of a control that is no choice
        offers: list[str] = known[1] if known else []
        if setting.choice not in offers:
            raise DeviceError(
                f"{what} cannot be {setting.choice!r}", hint=f"it offers {', '.join(offers) or 'nothing'}"
            )
        mixer.setenum(offers.index(setting.choice))
    if setting.volume is not None:
        low, high = mixer.getrange(pcm, alsaaudio.VOLUME_UNITS_RAW)
        if not low <= setting.volume <= high:
            raise DeviceError(f"{what} cannot be {setting.volume}", hint=f"it goes from {low} to {high}")
        mixer.setvolume(setting.volume, alsaaudio.MIXER_CHANNEL_ALL, pcm, alsaaudio.VOLUME_UNITS_RAW)
    if setting.on is not None:
        if setting.direction == "capture":
            mixer.setrec(setting.on)
        else:
            mixer.setmute(not setting.on)
