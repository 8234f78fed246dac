"""The bytes of a card's file, shared with ``pcm_vcard.c``: header, event log, room response, then the samples.

Responsible for: offsets and record types. Not for: their meaning (``vcard``).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

MAGIC = 0x56434432
LOG_AT, LOG_LENGTH = 4096, 1024
RESPONSE_AT = LOG_AT + 16 * LOG_LENGTH
RESPONSE_TAPS = 16384
AUDIO_AT = RESPONSE_AT + 4 * RESPONSE_TAPS
LANES = 8  # the plugin reads the response in groups of this many taps

HEADER = np.dtype(
    [
        *((name, "<u4") for name in ("magic", "rate", "mic_channels", "speaker_channels")),
        ("frames", "<u8"),
        ("t0_ns", "<i8"),
        ("speed", "<f8"),
        ("echo_delay", "<i4"),
        ("echo_gain", "<f4"),
        ("gone", "<u4"),
        ("freeze", "<u4"),
        ("freeze_frame", "<i8"),
        ("xrun_seq", "<u4"),
        ("busy", "<u4"),
        ("capture_open", "<u4"),
        ("playback_open", "<u4"),
        ("capture_start", "<i8"),
        ("playback_start", "<i8"),
        ("capture_xruns", "<u8"),
        ("playback_xruns", "<u8"),
        ("taps", "<u4"),
        ("events", "<u4"),
        ("mic_speed", "<f8"),
        ("deaf", "<u8"),
        ("least_period", "<u4"),
        ("most_periods", "<u4"),
    ]
)
EVENT = np.dtype([("frame", "<i8"), ("stream", "<u4"), ("kind", "<u4")])


class Stream(enum.IntEnum):
    """A direction of the card, numbered as ALSA does."""

    PLAYBACK = 0
    CAPTURE = 1


class Kind(enum.IntEnum):
    """What happened to a stream: opened and closed by a process, started and stopped moving frames."""

    OPENED = 0
    CLOSED = 1
    STARTED = 2
    STOPPED = 3


@dataclass(frozen=True)
class Event:
    """One entry of the card's log, written by the plugin inside the process that caused it."""

    frame: int
    stream: Stream
    kind: Kind
