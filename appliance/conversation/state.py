"""The state of a conversation and what may be read off it.

Responsible for: the fields, their meaning, and :func:`mirror`, which computes every output that only reflects
state (LED, microphone, gate, phase timer). Not for: what happens next (``transitions``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from appliance.conversation.events import Ailment


class Phase(Enum):
    """What the person would say that the appliance is doing."""

    IDLE = "idle"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    FAULT = "fault"
    UPDATING = "updating"
    SETUP = "setup"  # a Wi-Fi of our own is open, with a page for the settings


class Link(Enum):
    """What we know of the Realtime session."""

    DOWN = "down"
    OPENING = "opening"
    UP = "up"
    REFUSED = "refused"


class Mode(Enum):
    """How the present turn was begun, and so how it ends."""

    PRESSED = "pressed"  # the button is down and the gesture undecided
    HOLD = "hold"  # push-to-talk: the release ends the turn
    TAP = "tap"  # conversation: silence ends the turn, a follow-up window comes after the reply


class Turns(Enum):
    """Who finds the end of a turn in tap mode."""

    LOCAL = "local"
    SERVER = "server"


class Fault(Enum):
    """Why the phase is FAULT."""

    LINK = "link"
    ENROLMENT = "enrolment"  # the owner of the service has not approved this device yet
    DEVICE = "device"
    SETTINGS = "settings"  # those on the card cannot be used; the next press goes on without them


class Chore(Enum):
    """Work that waits for IDLE."""

    UPDATE = "update"


class Led(Enum):
    """What the LED says; the panel decides how it looks.

    A microphone that delivers nothing and one that is overdriven share a word: whoever stands in front does the
    same about both (expect little, read the status), and each further rhythm makes the others harder to tell
    apart on a plain LED.
    """

    OFF = "off"
    IDLE = "idle"
    ATTENTIVE = "attentive"  # hands-free: the microphone is open, nothing leaves the device
    LISTENING = "listening"
    DEAF = "deaf"  # listening with a microphone that cannot hear as it should
    THINKING = "thinking"
    SPEAKING = "speaking"
    SPEAKING_ALONE = "speaking-alone"  # the own voice cannot be cancelled: only a press interrupts
    MUTED = "muted"
    OFFLINE = "offline"
    ERROR = "error"
    UPDATING = "updating"
    SETUP = "setup"  # the set-up page waits for somebody
    ENROLLING = "enrolling"  # a code waits for the owner of the service
    CALIBRATING = "calibrating"  # the microphone is open to hear a sound of our own, nothing leaves the device


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner configured and the board can do; constant while the daemon runs."""

    turns: Turns = Turns.LOCAL
    hold_ms: int = 350
    shortest_ms: int = 100  # the server refuses to commit less
    follow_up_s: float = 8.0
    hands_free: bool = False
    full_duplex: bool = False  # board and configuration let voices interrupt what the appliance says
    listen_s: float = 60.0
    think_s: float = 20.0
    keep_warm_s: float = 240.0
    retry_s: float = 60.0
    most_responses: int = 12  # that one turn may ask for; the last of them may call no tools
    setup: bool = False  # there is a set-up page that the button can open


@dataclass(frozen=True, slots=True)
class State:
    """One moment of a conversation. Hashable, so that a test can visit all of them."""

    phase: Phase = Phase.IDLE
    link: Link = Link.DOWN
    muted: bool = False
    mode: Mode = Mode.HOLD
    follow_up: bool = False  # LISTENING was entered by itself after a reply, nobody has spoken yet
    voiced: bool = False  # a voice was heard in this turn
    closing: bool = False  # the button went down in an open conversation: a short press ends it
    response: str | None = None  # id of the announced response
    requested: bool = False  # a response was asked for and is not announced yet
    doomed: bool = False  # the response asked for or announced was interrupted: play nothing of it
    audible: bool = False  # reply audio is queued or sounding
    calls: frozenset[str] = field(default_factory=frozenset)  # tool calls that the reply waits for
    owes_reply: bool = False  # the person said something that no response answers yet
    asked: int = 0  # responses asked for in this turn: one for the person, the others for what tools answered
    asked_again: bool = False  # the question was repeated once to a new session
    offline: bool = False  # the last attempt to reach the service failed, and the person was told
    cut: bool = False  # the link broke under the reply that is sounding
    half_duplex: bool = False  # the own voice cannot be cancelled, although the settings hoped so
    ailment: Ailment | None = None  # what keeps the microphone from hearing
    calibrating: bool = False  # the loop from loudspeaker to microphone is being measured
    fault: Fault | None = None
    unasked: bool = False  # the attempt at the link that is under way was nobody's wish, and may wait for its turn
    chores: frozenset[Chore] = field(default_factory=frozenset)

    @property
    def awaits(self) -> bool:
        """True while something is still to come for the person: a response, a tool or a reply owed."""
        live = (self.response is not None or self.requested) and not self.doomed
        return live or bool(self.calls) or self.owes_reply


@dataclass(frozen=True, slots=True)
class Timer:
    """A phase timer: when ``key`` changes, the timer starts afresh; ``None`` stops it."""

    key: tuple[object, ...]
    after_s: float


@dataclass(frozen=True, slots=True)
class Mirror:
    """Every output that is a function of state."""

    led: Led
    microphone: bool  # the capture PCM is open
    barred: bool  # it is not opened for any reason, not even to see whether a lost card is back
    calibration: bool  # a calibration may go on; it opens the microphone for itself, and stops when this falls
    gate: bool  # microphone audio goes to the session
    server_vad: bool  # the server may end turns
    timer: Timer | None


def is_full_duplex(state: State, settings: Settings) -> bool:
    """Say whether a voice can interrupt the appliance: settings and board allow it, and it works."""
    return settings.full_duplex and not state.half_duplex


def mirror(state: State, settings: Settings) -> Mirror:
    """Compute the outputs that only reflect ``state``."""
    return Mirror(
        led=_led(state, settings),
        microphone=_microphone(state, settings),
        barred=state.muted,
        calibration=state.calibrating,
        gate=state.phase is Phase.LISTENING and (not state.follow_up or state.voiced or settings.turns is Turns.SERVER),
        server_vad=settings.turns is Turns.SERVER and state.mode is not Mode.HOLD,
        timer=_timer(state, settings),
    )


def _microphone(state: State, settings: Settings) -> bool:
    if state.muted:
        return False
    if state.phase is Phase.IDLE:
        return settings.hands_free and not state.calibrating
    if state.phase in (Phase.THINKING, Phase.SPEAKING):
        return is_full_duplex(state, settings) and state.mode is Mode.TAP
    return state.phase is Phase.LISTENING


def _led(state: State, settings: Settings) -> Led:
    if state.calibrating:
        return Led.CALIBRATING
    unreachable = state.offline and state.link is not Link.UP
    if state.phase in (Phase.IDLE, Phase.THINKING) and unreachable and not _microphone(state, settings):
        return Led.OFFLINE  # an open microphone is said before anything else
    if state.phase is Phase.IDLE:
        if state.muted:
            return Led.MUTED
        return Led.ATTENTIVE if settings.hands_free else Led.IDLE
    return {
        Phase.LISTENING: Led.DEAF if state.ailment else Led.LISTENING,
        Phase.THINKING: Led.THINKING,
        Phase.SPEAKING: Led.SPEAKING_ALONE if settings.full_duplex and state.half_duplex else Led.SPEAKING,
        Phase.FAULT: Led.ENROLLING if state.fault is Fault.ENROLMENT else Led.ERROR,
        Phase.UPDATING: Led.UPDATING,
        Phase.SETUP: Led.SETUP,
    }[state.phase]


def _timer(state: State, settings: Settings) -> Timer | None:
    match state.phase:
        case Phase.LISTENING if state.follow_up and not state.voiced:
            return Timer((state.phase, "follow-up"), settings.follow_up_s)
        case Phase.LISTENING:
            return Timer((state.phase,), settings.listen_s)
        case Phase.THINKING:
            # Any progress (announced, tool done, asked again) starts the patience anew.
            return Timer((state.phase, state.response, state.calls, state.asked_again), settings.think_s)
        case Phase.IDLE if state.link is Link.UP:
            return Timer((state.phase, state.link), settings.keep_warm_s)
        case Phase.FAULT | Phase.UPDATING | Phase.SETUP:
            return Timer((state.phase, state.link), settings.retry_s)
        case _:
            return None
