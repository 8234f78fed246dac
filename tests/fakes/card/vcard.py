"""The test's side of a virtual sound card: speak into the room, read what sounded and when, cause faults.

Responsible for: the card's file and the ALSA configuration that names it. Not for: the file's layout
(``layout``), compiling the plugin (``library``) or choosing the card a test process opens (``session``).

All times are card frames since the card was made: ``frame = (CLOCK_MONOTONIC - t0) * rate * speed``.
Microphone and loudspeaker share that clock, so a frame number says when something sounded, whoever played it. With
a ``mic_speed`` other than 1, whatever is said, heard or told of the microphone is in its own: ``frame * mic_speed``.
"""

from __future__ import annotations

import mmap
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.fakes.card.layout import (
    AUDIO_AT,
    EVENT,
    HEADER,
    LANES,
    LOG_AT,
    LOG_LENGTH,
    MAGIC,
    RESPONSE_AT,
    RESPONSE_TAPS,
    Event,
    Kind,
    Stream,
)
from tests.fakes.card.library import build

Samples = npt.NDArray[np.int16]

LEAD_S = 0.02  # `say` without a time starts this far ahead, so that a reader misses none of it

# Any card can be named, `vhw:"/path/card"`; without an argument the names mean the card beside this file.
_CONF = """\
pcm_type.vcard {{ lib "{library}" }}
pcm.vhw {{
    @args [ FILE ]
    @args.FILE {{ type string default "{card}" }}
    type vcard
    file $FILE
    hint {{ show on description "virtual card, exact" }}
}}
pcm.vplug {{
    @args [ FILE ]
    @args.FILE {{ type string default "{card}" }}
    type plug
    slave.pcm {{ type vcard file $FILE }}
    hint {{ show on description "virtual card, converted" }}
}}
pcm.!default {{ type plug slave.pcm {{ type vcard file "{card}" }} }}
"""


class VirtualCard:
    """A duplex S16 sound card with a room around it; every process that opens it hears the same room.

    Args:
        directory: created when absent; holds the card's file, its locks and ``asound.conf``. One card each.
        rate: frames per second of both directions.
        mic_channels: channels of the capture stream.
        speaker_channels: channels of the playback stream; the echo takes the first.
        seconds: how long the card can run; later frames are silent and what is played then is not kept.
        speed: card seconds per real second: 1.001 is a crystal 1000 ppm fast.
        mic_speed: the microphone's clock against the loudspeaker's, as of two cards with a crystal each.
        echo_delay: frames from loudspeaker to microphone.
        echo_gain: 0 is no echo.
        least_period: frames of the shortest period that it takes.
        most_periods: of a ring.
        library: the compiled plugin; default: built when needed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rate: int = 48000,
        mic_channels: int = 1,
        speaker_channels: int = 1,
        seconds: float = 120,
        speed: float = 1.0,
        mic_speed: float = 1.0,
        echo_delay: int = 0,
        echo_gain: float = 0.0,
        least_period: int = 16,
        most_periods: int = 256,
        library: Path | None = None,
    ) -> None:
        directory = directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "card"
        self.conf = directory / "asound.conf"
        self.rate = rate
        frames = int(rate * seconds)
        self._map(frames, mic_channels, speaker_channels)
        h = self._header
        h["rate"], h["frames"], h["speed"], h["mic_speed"] = rate, frames, speed, mic_speed
        h["mic_channels"], h["speaker_channels"] = mic_channels, speaker_channels
        h["echo_delay"], h["echo_gain"] = echo_delay, echo_gain
        h["least_period"], h["most_periods"] = least_period, most_periods
        h["capture_start"] = h["playback_start"] = -1
        h["t0_ns"], h["magic"] = time.monotonic_ns(), MAGIC
        self.conf.write_text(_CONF.format(library=library or build(), card=self.path))

    def _map(self, frames: int, mic_channels: int, speaker_channels: int) -> None:
        mic_bytes, speaker_bytes = 2 * frames * mic_channels, 2 * frames * speaker_channels
        with self.path.open("w+b") as file:  # sparse: pages exist once something sounded in them
            file.truncate(AUDIO_AT + mic_bytes + speaker_bytes)
            memory = mmap.mmap(file.fileno(), AUDIO_AT + mic_bytes + speaker_bytes)
        self._header = np.ndarray((), HEADER, memory)
        self._log = np.frombuffer(memory, EVENT, LOG_LENGTH, LOG_AT)
        self._response = np.frombuffer(memory, "<f4", RESPONSE_TAPS, RESPONSE_AT)
        self._mic = np.frombuffer(memory, "<i2", frames * mic_channels, AUDIO_AT).reshape(frames, -1)
        speaker = np.frombuffer(memory, "<i2", frames * speaker_channels, AUDIO_AT + mic_bytes)
        self._speaker = speaker.reshape(frames, -1)

    # ---- names ----

    @property
    def hw_name(self) -> str:
        """The ALSA name of exactly this card, whatever the process's configuration calls ``vhw``."""
        return f'vhw:"{self.path}"'

    @property
    def plug_name(self) -> str:
        """As :attr:`hw_name`, with ALSA's conversion of rate, format and channels in front."""
        return f'vplug:"{self.path}"'

    @property
    def environment(self) -> dict[str, str]:
        """Makes ``vhw``, ``vplug`` and ``default`` this card in a subprocess that starts with it."""
        return {"ALSA_CONFIG_PATH": str(self.conf)}

    # ---- the room ----

    def now(self) -> int:
        """The card frame that is passing now."""
        if self._header["freeze"]:
            return int(self._header["freeze_frame"])
        elapsed_ns = time.monotonic_ns() - int(self._header["t0_ns"])
        return int(elapsed_ns * 1e-9 * self.rate * float(self._header["speed"]))

    def mic_now(self) -> int:
        """The frame that the microphone takes now, by its own clock."""
        return int(self.now() * float(self._header["mic_speed"]))

    def frame_at(self, monotonic_s: float) -> float:
        """The frame that passed at a time of ``time.monotonic()``, on a card that was never frozen."""
        elapsed_s = monotonic_s - int(self._header["t0_ns"]) * 1e-9
        return elapsed_s * self.rate * float(self._header["speed"])

    def say(self, samples: npt.ArrayLike, at: int | None = None, *, mix: bool = False) -> int:
        """Puts sound at the microphone and returns its first frame.

        Args:
            samples: S16 values; one column is heard on every channel, else one column a channel.
            at: first frame; default 20 ms from now. What the reader has already read is not heard.
            mix: adds to what is there, clipped; default replaces it.

        Raises:
            ValueError: it does not fit before the end of the card, or has the wrong number of channels.
        """
        start = self.mic_now() + int(LEAD_S * self.rate) if at is None else at
        said = np.asarray(samples, np.int16)
        said = said.reshape(len(said), -1)
        if start < 0 or start + len(said) > len(self._mic):
            raise ValueError(f"frames {start} to {start + len(said)} are not within the card's {len(self._mic)}")
        room = self._mic[start : start + len(said)]
        if mix:
            room[:] = np.clip(room.astype(np.int32) + said, -32768, 32767)
        else:
            room[:] = said
        return start

    def spoken(self, start: int, stop: int) -> Samples:
        """A copy of what the loudspeaker played in frames ``[start, stop)``, one column a channel.

        Beyond :meth:`now` it is what will sound if nothing drops it.
        """
        return self._speaker[start:stop].copy()

    def set_echo(self, *, delay: int, gain: float, response: npt.ArrayLike | None = None) -> None:
        """Changes the path from loudspeaker to microphone, for frames not yet read; frames are the microphone's.

        ``mic += gain * convolve(speaker, response)`` ``delay`` frames later; no response is a single tap.

        Raises:
            ValueError: the response is empty or longer than 16384 taps.
        """
        taps = np.zeros(0, np.float32) if response is None else np.asarray(response, np.float32)
        if response is not None and not 1 <= len(taps) <= RESPONSE_TAPS:
            raise ValueError(f"a room response has 1 to {RESPONSE_TAPS} taps, not {len(taps)}")
        padded = -(-len(taps) // LANES) * LANES
        self._header["echo_gain"] = 0.0  # a reader meanwhile hears silence, not half of a response
        self._response[:padded] = 0
        self._response[padded - len(taps) : padded] = taps[::-1]
        self._header["taps"] = len(taps)
        self._header["echo_delay"] = delay
        self._header["echo_gain"] = gain

    # ---- faults ----

    def unplug(self) -> None:
        """Open streams and new openings fail with ENODEV; sleeping pollers notice within 100 ms."""
        self._header["gone"] = 1

    def plug(self) -> None:
        """The card can be opened again."""
        self._header["gone"] = 0

    def freeze(self) -> None:
        """Stops the card's clock: streams stay open and no frame moves, as with a hung USB device."""
        self._header["freeze_frame"] = self.now()
        self._header["freeze"] = 1

    def thaw(self) -> None:
        """The clock goes on from the frame at which it stopped."""
        per_second = self.rate * float(self._header["speed"])
        frozen_ns = int(int(self._header["freeze_frame"]) / per_second * 1e9)
        self._header["t0_ns"] = time.monotonic_ns() - frozen_ns
        self._header["freeze"] = 0

    def xrun(self) -> None:
        """Every running stream has one overrun or underrun when it next looks at the card."""
        self._header["xrun_seq"] += 1

    def deafen(self, deaf: bool) -> None:
        """While deaf, the microphone delivers zeros, whatever sounds, as a dead or muted capsule does."""
        self._header["deaf"] = deaf

    def set_busy(self, busy: bool) -> None:
        """While busy, new openings fail with EBUSY, as if another program held the card."""
        self._header["busy"] = busy

    # ---- the witness ----

    @property
    def capture_open(self) -> bool:
        """Whether the microphone is open. A process that was killed leaves it true until the next opening."""
        return bool(self._header["capture_open"])

    @property
    def playback_open(self) -> bool:
        """As :attr:`capture_open`, for the loudspeaker."""
        return bool(self._header["playback_open"])

    @property
    def capture_start(self) -> int:
        """The frame of the first sample since capture was last started; -1 before."""
        return int(self._header["capture_start"])

    @property
    def playback_start(self) -> int:
        """The frame at which the first sample sounded since playback was last started; -1 before."""
        return int(self._header["playback_start"])

    @property
    def capture_xruns(self) -> int:
        """Overruns so far, injected ones included."""
        return int(self._header["capture_xruns"])

    @property
    def playback_xruns(self) -> int:
        """Underruns so far, injected ones included."""
        return int(self._header["playback_xruns"])

    def events(self, stream: Stream | None = None) -> list[Event]:
        """Every opening, start, stop and closing so far (of one stream), oldest first.

        Raises:
            OverflowError: more than 1024 happened, so the log could not prove what did not happen.
        """
        count = int(self._header["events"])
        if count > LOG_LENGTH:
            raise OverflowError(f"the card's log holds {LOG_LENGTH} events and {count} happened")
        log = [Event(int(e["frame"]), Stream(e["stream"]), Kind(e["kind"])) for e in self._log[:count]]
        return [event for event in log if stream in (None, event.stream)]

    def open_spans(self, stream: Stream) -> list[tuple[int, int | None]]:
        """When the stream was open, as ``[opened, closed)`` frames; ``None`` is still open (or died open)."""
        spans: list[tuple[int, int | None]] = []
        for event in self.events(stream):
            if event.kind is Kind.OPENED:
                spans.append((event.frame, None))
            elif event.kind is Kind.CLOSED:
                spans[-1] = (spans[-1][0], event.frame)
        return spans
