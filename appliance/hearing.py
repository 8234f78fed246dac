"""How well the appliance hears, itself and others: told to the conversation, counted, put into words with a remedy.

Responsible for: the facts of the audio thread about voices, echo and the microphone's health. Not for: finding them
out (``audio``) or what follows from them (``conversation``).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from appliance.audio import facts as heard
from appliance.conversation import events as ev
from appliance.conversation.events import Ailment
from appliance.conversation.state import Fault, Phase, Settings, State, is_full_duplex

log = logging.getLogger(__name__)
Fact = (
    heard.VoiceBegan
    | heard.VoiceStopped
    | heard.VoiceSuspected
    | heard.VoiceCleared
    | heard.EchoUncontrolled
    | heard.MicrophoneAiled
    | heard.MicrophoneHealed
)
TROUBLE = {
    Ailment.ZERO: "the microphone delivers only zeros; is it muted, unplugged, or is audio.microphones the wrong "
    "channel? `voice-appliance calibrate` shows each",
    Ailment.CLIPPED: "the microphone is driven into clipping; turn its gain down or move it away from the loudspeaker",
}


class Hearing:
    """What is known of hearing. ``duplex_reason`` says why a state that begins half duplex does so."""

    def __init__(
        self,
        post: Callable[[ev.Event], None],
        look: Callable[[], State],
        settings: Settings,
        counters: Counter[str],
        duplex_reason: str,
    ) -> None:
        self._post, self._look, self._settings, self._counters = post, look, settings, counters
        self._reason = duplex_reason

    def take(self, fact: Fact) -> None:
        """Take a fact of the audio thread."""
        match fact:
            case heard.VoiceBegan():
                self._voice_began()
            case heard.VoiceStopped():
                self._post(ev.VoiceEnded())
            case heard.VoiceSuspected():
                self._counters["ducks"] += 1
            case heard.VoiceCleared():
                self._counters["ducks_for_nothing"] += 1
            case heard.EchoUncontrolled(reason, hint):
                self._lose_duplex(reason, hint)
            case heard.MicrophoneAiled(ailment):
                if ailment is not self._look().ailment:  # it is told anew for each opening of the card
                    log.warning("%s", TROUBLE[ailment])
                self._post(ev.MicrophoneAiled(ailment))
            case heard.MicrophoneHealed():
                if self._look().ailment is not None:
                    log.info("the microphone hears again")
                self._post(ev.MicrophoneHealed())

    def _voice_began(self) -> None:
        over_reply = self._look().phase in (Phase.THINKING, Phase.SPEAKING)
        self._post(ev.VoiceStarted())
        if over_reply and self._look().phase is Phase.LISTENING:
            self._counters["voice_barge_ins"] += 1

    def _lose_duplex(self, reason: str, hint: str) -> None:
        if self.full_duplex:
            self._reason = reason
            log.warning("half duplex from now on: %s; %s", reason, hint)
            self._post(ev.DuplexLost())

    def restore_duplex(self) -> None:
        """Take full duplex up again, if it was lost: the own voice was found to be under control."""
        if self.degraded:
            log.info("full duplex again")
            self._post(ev.DuplexRestored())

    @property
    def full_duplex(self) -> bool:
        """Say whether a voice can interrupt a reply of a tapped conversation."""
        return is_full_duplex(self._look(), self._settings)

    @property
    def duplex_reason(self) -> str:
        """Say why only a press interrupts; empty in full duplex."""
        return "" if self.full_duplex else self._reason

    @property
    def degraded(self) -> bool:
        """Say whether it is half duplex against the owner's wish."""
        return self._settings.full_duplex and not self.full_duplex

    @property
    def microphone(self) -> str:
        """Name the microphone's health: ok, zero, clipped, or unavailable while a sound card is gone."""
        state = self._look()
        if state.fault is Fault.DEVICE:
            return "unavailable"
        return state.ailment.value if state.ailment else "ok"

    @property
    def microphone_trouble(self) -> str:
        """Say what ails the microphone and what to do about it; empty when it hears."""
        ailment = self._look().ailment
        return TROUBLE[ailment] if ailment else ""
