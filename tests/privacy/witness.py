"""The witness: the card's record of its microphone and the server's record of what it got, held against the light.

Responsible for: saying what was wrong, in words. Not for: the product's own account of itself, which it does not ask;
only whether a voice may interrupt (a conversation begun by a tap) is told by whoever set the scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from appliance.audio.listener import OVER_PRE_ROLL_S, PRE_ROLL_S
from appliance.conversation.state import Led
from tests.device.card import FOUND_BY, Card, Logged
from tests.fakes.card import Kind, Stream

LISTENS = (Led.LISTENING, Led.DEAF)
OPEN = (*LISTENS, Led.ATTENTIVE, Led.CALIBRATING)  # the light says that the microphone is open
LOOKS = (Led.ERROR, Led.UPDATING)  # a lost card is looked for: opened, not started, and closed
BUSY = (Led.THINKING, Led.SPEAKING)  # it may be, to hear whoever interrupts
ROUNDING_S = 0.0001
RINGS_ON_S = 1.3  # for a second after it sounded, and a voice takes a moment to be found
NOTHING = bytes(2 * FOUND_BY)


@dataclass(slots=True)
class Span:
    """A stretch of time whose sound may go up."""

    start: float
    stop: float | None = None


class Witness:
    """``grace_s`` is what the audio thread takes to do as it is told; ``interruptible``: see above."""

    def __init__(self, card: Card, grace_s: float, interruptible: Callable[[], bool]) -> None:
        self._card, self._grace_s, self._interruptible = card, grace_s + ROUNDING_S, interruptible
        self.led, self._led_at = Led.OFF, card.time()
        self.muted, self._muted_at = False, card.time()
        self.wrongs: list[str] = []
        self.spans: list[Span] = []
        self.audio_bytes = self.cleaned_bytes = 0
        self._open = self._looked_for = False
        self._lie_since: float | None = None
        self._onset: float | None = None  # of a voice that is being told
        card.noted = self._noted

    # --- what happens ---

    def light(self, led: Led) -> None:
        """The light changed."""
        now, before = self._card.time(), self.led
        self.led, self._led_at = led, now
        if led in LISTENS and before not in LISTENS:
            self.spans.append(Span(now))
            self._grant_pre_roll()
        elif before in LISTENS and led not in LISTENS:
            self.spans[-1].stop = now + self._grace_s
        self._look()

    def mute(self, muted: bool, *, cuts: bool) -> None:
        """The person muted it, or not; ``cuts``: it listened, and that turn is thrown away."""
        now = self._card.time()
        self.muted, self._muted_at = muted, now
        if muted and cuts:
            self.spans[-1].stop = now  # not a sample from after it
        if muted and self.led in OPEN:
            self._wrong(f"muted, and the light says {self.led.value}")
        self._look()

    def voice(self, onset_at: float) -> None:
        """The detector is about to tell of a voice; if it is listened to, its beginning may go up."""
        self._onset = onset_at
        if self.led in LISTENS:  # a window that waits for a voice
            self._grant_pre_roll()

    def voice_told(self) -> None:
        """That was it."""
        self._onset = None

    def _grant_pre_roll(self) -> None:
        """A second before the first hint over the own voice, else half: docs/decisions/upstream-while-it-speaks.md."""
        if self._onset is not None:
            quiet_s = self._card.time() - self._card.sounded_at
            pre_roll_s = PRE_ROLL_S if quiet_s > RINGS_ON_S else OVER_PRE_ROLL_S
            self.spans[-1].start = min(self.spans[-1].start, self._onset - pre_roll_s - ROUNDING_S)

    def audio(self, pcm: bytes) -> None:
        """The server got this."""
        self.audio_bytes += len(pcm)
        if pcm.startswith(NOTHING) or not any(pcm):
            return  # of a deaf microphone: one silence is as good as another
        found = self._card.frames_of(pcm)
        if found is None:
            self.cleaned_bytes += len(pcm)
            return
        first, last = self._card.at(found[0]), self._card.at(found[1])
        covered = first
        for span in sorted(self.spans, key=lambda span: span.start):
            if span.start - ROUNDING_S <= covered:
                covered = max(covered, float("inf") if span.stop is None else span.stop + ROUNDING_S)
            if covered >= last:
                return
        spans = ", ".join(f"{span.start:.3f}-{span.stop or 0:.3f}" for span in self.spans[-4:])
        self._wrong(f"sound of {first:.3f} to {last:.3f} went up, and it listened at {spans}")

    def _noted(self, entry: Logged) -> None:
        if entry.stream is not Stream.CAPTURE:
            return
        match entry.kind:
            case Kind.OPENED:
                self._open = True
                self._looked_for = self.led in LOOKS and not self.muted
                if self.muted and entry.at - self._muted_at > self._grace_s:
                    self._wrong("the microphone was opened although it is muted")
                elif not self._says_so and entry.at - self._led_at > self._grace_s and not self._looked_for:
                    self._wrong(f"the microphone was opened while the light says {self.led.value}")
            case Kind.STARTED:
                self._looked_for = False
            case Kind.CLOSED:
                self._open = False
        self._look()

    # --- what is wrong with it ---

    @property
    def _says_so(self) -> bool:
        return self.led in OPEN or (self.led in BUSY and self._interruptible())

    def _look(self) -> None:
        lie = self._open and not self._looked_for and (self.muted or not self._says_so)
        now = self._card.time()
        if self._lie_since is not None and (not lie or now - self._lie_since > self._grace_s):
            if now - self._lie_since > self._grace_s:
                muted = "muted, " if self.muted else ""
                self._wrong(f"the microphone is open since {self._lie_since:.3f}, {muted}light {self.led.value}")
            self._lie_since = None
        if lie and self._lie_since is None:
            self._lie_since = now

    def _wrong(self, words: str) -> None:
        self.wrongs.append(f"at {self._card.time():.3f}: {words}")

    def verdict(self) -> list[str]:
        """Say what was wrong until now."""
        self._look()
        return self.wrongs
