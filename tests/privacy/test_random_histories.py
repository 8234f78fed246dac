"""Whatever happens in whatever order: the microphone is open when the light says so, and nothing else goes up.

500 random histories of a whole device in virtual time. The engine, the audio thread, the protocol and the transport are
the product's; the witnesses are the card's own record and what the server got, sample by sample.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from appliance.audio.facts import AudioFact, VoiceBegan
from appliance.board import Board
from appliance.config import Config
from appliance.conversation import events as ev
from appliance.conversation import state as conversation
from appliance.conversation.state import Led, Mode, is_full_duplex
from appliance.errors import ProvisioningError
from tests.device.card import RATE, Card
from tests.device.device import Device, Late
from tests.device.server import Plan, Server
from tests.privacy.witness import LISTENS, Witness
from tests.scenarios.voices import go_forward
from tests.virtual_time import VirtualTimeLoop

PICTURE = "data:image/png;base64,iVBORw0KGgo="
CLOSES = [1000, 1001, 1006, 1011, 4000]
ERRORS = ["server_error", "session_expired", "invalid_api_key", "rate_limit_exceeded", "item_not_found"]
ENDINGS = ["answer", "answer", "silent", "failed", "incomplete", "unannounced", "unfinished", "tool", "cut", "refused"]
PAUSES_S = [0.0, 0.01, 0.05, 0.1, 0.2, 0.36, 0.36, 0.7, 0.7, 1.5, 1.5, 3.0, 3.0, 9.0]

configs = st.fixed_dictionaries(
    {
        "conversation": st.fixed_dictionaries(
            {
                "hands_free": st.booleans(),
                "follow_up_s": st.sampled_from([0, 3]),
                "listen_s": st.just(6),
                "think_s": st.just(5),
                "barge_in": st.sampled_from([True, True, False]),
            }
        ),
        "realtime": st.fixed_dictionaries({"turn_detection": st.sampled_from(["local", "local", "server_vad"])}),
        "audio": st.fixed_dictionaries({"microphones": st.just([0]), "cues": st.booleans()}),
    }
)
boards = st.sampled_from(["hardware", "hardware", "software"])  # of a software canceller the output is not the input
lates = st.builds(Late, st.sampled_from([0.0, 0.002, 0.03]), st.sampled_from([0.0, 0.002, 0.03]))
lasts = st.sampled_from([0.3, 1.5, 4.0, 12.0])
plans = st.builds(
    Plan,
    st.sampled_from(ENDINGS),
    st.sampled_from([0.05, 1.0]),
    st.sampled_from([0.4, 3.0]),
    st.sampled_from([0.1, 1.0]),
)


class Histories(RuleBasedStateMachine):
    """One history: what may happen to a device."""

    @initialize(
        config=configs, aec=boards, late=lates, first=st.sampled_from(["", "held", "tapped", "interrupted", "voice"])
    )
    def begin(self, config: dict[str, Any], aec: str, late: Late, first: str) -> None:
        self.loop = VirtualTimeLoop()
        self.bugs: list[object] = []
        self.loop.set_exception_handler(lambda _, context: self.bugs.append(context))
        self.plan, self.muted, self.down = Plan(), False, False
        self.refusal: ProvisioningError | None = None
        self.config, self.late = msgspec.convert(config, Config), late
        self.board = Board(name="virtual", aec=aec)  # type: ignore[arg-type]  # one of the two
        self.loop.run_until_complete(self._build())
        if first == "voice":
            self.speak(0.7)
        elif first:
            self.plan = Plan(reply_s=4.0)
            self.ask(1.5 if first == "held" else 0.1, True, 0.0)
        if first == "interrupted":
            self.speak(2.0)

    async def _build(self) -> None:
        self.server = Server(lambda: self.plan)
        self.card = Card(self.loop.time)
        self.witness = Witness(self.card, self.late.thread_s, self._interruptible)
        self.server.audio = self.witness.audio
        await self._start()

    async def _start(self) -> None:
        self.device = Device(
            self.config,
            self.board,
            self.server,
            self.card,
            late=self.late,
            light=self._light,
            told=self._heard,
            refusal=lambda: self.refusal,
            muted=self.muted,
        )

    async def _restart(self) -> None:
        """Take a new configuration into use as the daemon does: by ending and starting afresh."""
        await self.device.close()
        self.down = False
        await self._start()

    def _interruptible(self) -> bool:
        state = self.device.engine.state
        return state.mode is Mode.TAP and is_full_duplex(state, self.device.engine._settings)

    def _light(self, led: Led) -> None:
        self.witness.light(led)

    def _heard(self, fact: AudioFact) -> None:
        self.witness.voice_told()
        if isinstance(fact, VoiceBegan):
            self.witness.voice(fact.onset_at)

    def pass_(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.witness.voice_told()
        if self.device.updates:
            self.loop.run_until_complete(self._restart())
        assert not self.witness.verdict()
        assert not self.bugs

    def post(self, event: ev.Event) -> None:
        self.witness.voice_told()
        self.loop.call_soon(self.device.engine.post, event)
        self.pass_(0)

    # --- a person ---

    @rule(seconds=st.sampled_from(PAUSES_S))
    def wait(self, seconds: float) -> None:
        self.pass_(seconds)

    @rule(after=st.sampled_from(PAUSES_S))
    def edge(self, after: float) -> None:
        self.down = not self.down
        self.loop.call_soon(self.device.button.edge, self.down, self.loop.time())
        self.pass_(after)

    @rule(after=st.sampled_from(PAUSES_S))
    def tap(self, after: float) -> None:
        self.edge(0.1)
        self.edge(after)

    @rule(after=st.sampled_from(PAUSES_S))
    def mute(self, after: float) -> None:
        self.witness.voice_told()
        self.muted = not self.muted
        listened = self.witness.led in LISTENS
        self.device.engine.post(ev.MuteToggled())
        self.witness.mute(self.muted, cuts=listened)
        assert self.device.engine.state.muted is self.muted
        self.pass_(after)

    @rule(after=st.sampled_from(PAUSES_S))
    def speak(self, after: float) -> None:
        self.card.say(go_forward(RATE))
        self.pass_(after)

    @rule()
    def stop_speaking(self) -> None:
        self.card.hush()

    @rule()
    def type_words(self) -> None:
        self.post(ev.TextSaid("and now?"))

    @rule()
    def show_picture(self) -> None:
        self.post(ev.ImageShown(PICTURE))

    @rule(held_s=st.sampled_from([0.1, 0.1, 1.5]), speaks=st.booleans(), after=st.sampled_from(PAUSES_S))
    def ask(self, held_s: float, speaks: bool, after: float) -> None:
        """A question, and a while for its answer."""
        if self.down:
            self.edge(0.1)
        self.edge(0.05)
        if speaks:
            self.speak(0.0)
        self.pass_(held_s)
        self.edge(3.0)
        self.pass_(after)

    # --- the service ---

    @rule(plan=plans)
    def decide(self, plan: Plan) -> None:
        self.plan = plan

    @rule(code=st.sampled_from(CLOSES))
    def hang_up(self, code: int) -> None:
        self.server.hang_up(code)
        self.pass_(0)

    @rule(code=st.sampled_from(ERRORS))
    def complain(self, code: str) -> None:
        self.server.fail(code)
        self.pass_(0.05)

    @rule(kind=st.sampled_from(["unreachable", "stalled"]), lasts_s=lasts)
    def outage(self, kind: str, lasts_s: float) -> None:
        self.for_a_while(self.server, kind, lasts_s)
        if kind == "unreachable":
            self.server.hang_up()

    @rule(code=st.sampled_from(["overloaded", "access_denied", "enrolment_pending"]), lasts_s=lasts)
    def refuse(self, code: str, lasts_s: float) -> None:
        self.refusal = ProvisioningError(code, code=code, retry=code == "overloaded")
        self.loop.call_later(lasts_s, lambda: setattr(self, "refusal", None))

    # --- the device ---

    @rule(kind=st.sampled_from(["gone", "gone", "frozen", "deaf"]), lasts_s=lasts, after=st.sampled_from(PAUSES_S))
    def fail(self, kind: str, lasts_s: float, after: float) -> None:
        self.for_a_while(self.card, kind, lasts_s)
        self.pass_(after)

    def for_a_while(self, part: object, trouble: str, lasts_s: float) -> None:
        setattr(part, trouble, True)
        self.loop.call_later(lasts_s, lambda: setattr(part, trouble, False))

    @rule()
    def reload(self) -> None:
        self.post(ev.UpdateStaged())

    @rule(crossed=st.booleans(), after=st.sampled_from([0.0, 0.05, 0.7, 2.0]))
    def measure(self, crossed: bool, after: float) -> None:
        """The moment for a calibration has come, in the same moment in which anything else may happen."""
        if self.device.engine.state.phase is conversation.Phase.IDLE and not self.muted:
            self.loop.call_soon(self.device.spawn, self.device.calibrate())
            if crossed:
                self.mute(0.0)
            elif after:
                self.pass_(after)

    def teardown(self) -> None:
        if hasattr(self, "device"):
            self.loop.run_until_complete(self.device.close())
            verdict, bugs = self.witness.verdict(), self.bugs
            self._tell()
            self.loop.close()
            assert not verdict
            assert not bugs

    def _tell(self) -> None:
        """What was met, for ``--hypothesis-show-statistics``."""
        event(f"the microphone was {'opened' if self.card.log else 'never opened'}")
        if self.witness.audio_bytes:
            event("sound went up")
        for name in self.device.engine.counters:
            event(f"counted {name}")


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=500,
    stateful_step_count=16,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
)
