"""The loop from loudspeaker to microphone: what was found of it, and whether the appliance can hear while it speaks.

Responsible for: the finding's shape, and :func:`judge`, which is pure. Not for: measuring (``calibration``) or keeping
it (``calibrated``). Levels are dBFS (RMS, a full-scale square wave is 0), times milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

LEAD_MS = 4.0  # AEC3 loses its way for good when the echo comes before its reference: it is given the reference early
REACH_MS = 450.0  # how far back the loudspeaker's memory goes: a ring (240 ms) and half a second, less what is in use
LOUDEST_DBFS = -6.0  # an echo above leaves no room for a voice on top of it
CLIPPED_SAMPLES = 10  # a click has a few
ERLE_DB = 10.0
DISTORTION_DB = -10.0  # above, a voice over the reply is less than 8 dB clear of what the canceller leaves (else 15)
UNCANCELLED_DB = 30.0  # with no canceller of ours, the echo has to be this much below what was played
CLEAR_DB = 16.0  # an echo less than this above the noise cannot show 10 dB of cancelling
Level = Annotated[float, Meta(ge=-200, le=100)]


class Microphone(msgspec.Struct, frozen=True, kw_only=True):
    """One channel of the card. ``echo_dbfs`` is ``None`` where no echo was heard."""

    channel: int
    noise_dbfs: Level
    echo_dbfs: Level | None
    clipped_samples: int
    dead: bool  # the same value all the time: muted, not connected, no microphone


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. All that an echo tells is ``None`` where none was heard.

    ``delay_ms`` is the round trip beyond what ALSA reports: from the card's own position to the microphone's samples.
    ``return_loss_db`` is how much softer the echo is than what was played; it is ``None`` where the room was much
    louder than the echo. ``erle_db`` needs an echo that is clear of the noise; ``distortion_db``, the share of the
    echo that is no linear image of what was played, also the full form.
    """

    form: Literal["full", "quiet"]
    canceller: str  # ours, by name
    gain_db: Level  # of the volume at which it was measured
    microphones: tuple[Microphone, ...]
    noise_dbfs: Level
    delay_ms: Annotated[float, Meta(ge=-100, le=5000)] | None
    echo_dbfs: Level | None
    return_loss_db: Level | None
    erle_db: Level | None
    distortion_db: Level | None
    overruns: int
    underruns: int
    whole: bool  # no sound was lost during the last attempt

    @property
    def dead(self) -> tuple[int, ...]:
        """The channels that deliver nothing."""
        return tuple(mic.channel for mic in self.microphones if mic.dead)

    @property
    def clipped_samples(self) -> int:
        """Of the worst channel, while the probe sounded."""
        return max((mic.clipped_samples for mic in self.microphones), default=0)

    @property
    def conclusive(self) -> bool:
        """Say whether anything was learnt: some microphone lives, and no sound was lost."""
        return self.whole and len(self.dead) < len(self.microphones)

    @property
    def loudest_dbfs(self) -> float | None:
        """How loud the echo of a full-scale sound at this volume arrives, before the converter limits it."""
        return None if self.return_loss_db is None else self.gain_db - self.return_loss_db


def reference_ms(loop: Loop | None, board_ms: float) -> float:
    """Say how much later than ALSA's position the canceller's reference has to be taken; below 0: earlier.

    The echo then comes :data:`LEAD_MS` after its reference. ``board_ms`` is the round trip that the board's profile
    names; it counts where none was measured.
    """
    delay_ms = board_ms if loop is None or loop.delay_ms is None else loop.delay_ms
    return min(delay_ms, REACH_MS) - LEAD_MS


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the microphone may stay open while the loudspeaker sounds; why, and what a person can do about it."""

    full_duplex: bool
    reason: str
    hint: str = ""
    known: bool = True  # False: nothing was learnt that speaks against it

    def __str__(self) -> str:
        """Say it in one line."""
        if not self.known:
            what = f"nothing is known: {self.reason}"
        elif self.full_duplex:
            what = f"full duplex: it hears you while it speaks; {self.reason}"
        else:
            what = f"half duplex: it does not listen while it speaks, because {self.reason}"
        return f"{what}; {self.hint}" if self.hint else what


def judge(loop: Loop) -> Verdict:
    """Decide about full duplex. Where nothing was learnt or no echo was heard, nothing speaks against it."""
    if not loop.conclusive or loop.delay_ms is None:
        return _unheard(loop)
    return _overdriven(loop) or _out_of_reach(loop) or _uncancelled(loop) or _cancelled(loop)


def _unheard(loop: Loop) -> Verdict:
    if not loop.whole:
        reason = f"sound was lost ({loop.overruns} overruns, {loop.underruns} underruns)"
        return Verdict(True, reason, "the machine is too busy: stop other programs and measure again", known=False)
    if not loop.conclusive:
        reason = f"the microphone delivers nothing (channel {', '.join(map(str, loop.dead))})"
        hint = "is it muted by a switch or in alsamixer, or is [audio] microphones another channel?"
        return Verdict(True, reason, hint, known=False)
    hint = "if you heard the sound: is it the right microphone? if not: is the loudspeaker plugged in and turned up?"
    return Verdict(True, "no echo was heard", hint)


def _overdriven(loop: Loop) -> Verdict | None:
    if loop.clipped_samples >= CLIPPED_SAMPLES:
        return Verdict(
            False,
            f"the microphone clips on the echo ({loop.clipped_samples} samples)",
            "turn the microphone's gain down in alsamixer, or the volume",
        )
    if loop.loudest_dbfs is not None and loop.loudest_dbfs > LOUDEST_DBFS:
        return Verdict(
            False,
            f"a loud sound comes back at {loop.loudest_dbfs:.0f} dBFS (limit {LOUDEST_DBFS:.0f})",
            "turn the microphone's gain down in alsamixer, or the volume, or move loudspeaker and microphone apart",
        )
    if loop.distortion_db is not None and loop.distortion_db > DISTORTION_DB:
        return Verdict(
            False,
            f"the loudspeaker distorts: {loop.distortion_db:.0f} dB of the echo is not what was played "
            f"(limit {DISTORTION_DB:.0f})",
            "turn the volume down, take a larger loudspeaker, or look for what rattles",
        )
    return None


def _out_of_reach(loop: Loop) -> Verdict | None:
    if loop.delay_ms is None or loop.delay_ms <= REACH_MS:
        return None
    return Verdict(
        False,
        f"the echo comes {loop.delay_ms:.0f} ms late (limit {REACH_MS:.0f})",
        "use a wired loudspeaker, and an ALSA device without a sound server (plughw:…)",
    )


def _uncancelled(loop: Loop) -> Verdict | None:
    if loop.canceller == "none":
        clear = loop.echo_dbfs is not None and loop.echo_dbfs - loop.noise_dbfs > CLEAR_DB
        if loop.return_loss_db is None or loop.return_loss_db >= UNCANCELLED_DB or not clear:
            return None
        return Verdict(
            False,
            f"nothing takes the echo away: it comes back only {loop.return_loss_db:.0f} dB softer than it was played",
            'unless the board cancels by itself: aec = "software" in its profile, audio.echo_canceller = "aec3"',
        )
    if loop.erle_db is None or loop.erle_db >= ERLE_DB:
        return None
    return Verdict(
        False,
        f"only {loop.erle_db:.0f} dB of the echo can be cancelled (limit {ERLE_DB:.0f})",
        "turn the volume down; switch off gain control and effects of the card in alsamixer; use one card for both",
    )


def _cancelled(loop: Loop) -> Verdict:
    if loop.erle_db is not None and loop.canceller != "none":
        return Verdict(True, f"{loop.erle_db:.0f} dB of the echo are cancelled")
    return Verdict(True, "the echo is near to the noise")
