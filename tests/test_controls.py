"""What a running appliance says of itself when something is wrong with its hearing."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import cast

from appliance.audio import facts as heard
from appliance.controls import LocalControls
from appliance.conversation.events import Ailment
from appliance.daemon import Daemon
from appliance.errors import DeviceError
from tests.engine.rig import Rig, play

DEAD = heard.MicrophoneAiled(Ailment.ZERO)
ALARM = heard.EchoUncontrolled("the echo is out of control", "turn it down")


def controls_of(at: Rig, session_error: str = "") -> LocalControls:
    """The controls of a daemon of which only the engine is real."""
    parts = SimpleNamespace(
        engine=at.engine,
        protocol=at.protocol,
        session=SimpleNamespace(last_error=session_error, trouble=""),
        tickets=SimpleNamespace(last_error="", thumbprint="", status=lambda: {"state": "enrolled"}),
        duplex=SimpleNamespace(microphone_open=False, counters=Counter[str]),
        button=SimpleNamespace(stuck=False),
        panel_trouble="",
        first_start=SimpleNamespace(status=lambda: None),
        guidance=SimpleNamespace(status=lambda: None),
        sound_trial=SimpleNamespace(status=lambda: None),
        timers=SimpleNamespace(running=0),
        volume=80,
    )
    return LocalControls(cast("Daemon", parts))


def test_all_is_well() -> None:
    async def story(at: Rig) -> None:
        controls = controls_of(at)
        status = controls.status()
        assert status["duplex"] == {"mode": "full", "reason": None}
        assert (status["microphone"], status["last_error"]) == ("ok", None)
        assert (status["enrolment"], status["last_error_code"]) == ({"state": "enrolled"}, None)
        assert controls.status_line() == "ready, link down"

    play(story, full_duplex=True)


def test_an_echo_out_of_control_is_in_the_status_with_its_reason() -> None:
    async def story(at: Rig) -> None:
        controls = controls_of(at)
        at.engine.audio_fact(ALARM)
        assert controls.status()["duplex"] == {"mode": "half", "reason": "the echo is out of control"}
        assert controls.status_line() == "ready, link down, half duplex (the echo is out of control)"

    play(story, full_duplex=True)


def test_half_duplex_by_choice_has_a_reason_and_is_nothing_to_warn_of() -> None:
    async def story(at: Rig) -> None:
        controls = controls_of(at)
        assert controls.status()["duplex"] == {"mode": "half", "reason": "conversation.barge_in = false"}
        assert controls.status_line() == "ready, link down"

    play(story, duplex_reason="conversation.barge_in = false")


def test_a_dead_microphone_is_in_the_status_and_other_errors_come_first() -> None:
    async def story(at: Rig) -> None:
        controls = controls_of(at)
        at.engine.audio_fact(DEAD)
        assert controls.status()["microphone"] == "zero"
        assert str(controls.status()["last_error"]).startswith("the microphone delivers only zeros")
        assert controls.status_line().startswith("ready, link down, microphone zero; last: the microphone delivers")
        unreachable = controls_of(at, "cannot reach the service")
        assert unreachable.status()["last_error"] == "cannot reach the service"
        assert unreachable.status_line() == "ready, link down, microphone zero; last: cannot reach the service"
        at.engine.audio_fact(heard.DeviceLost(DeviceError("the card is gone", hint="plug it in")))
        assert unreachable.status()["microphone"] == "unavailable"
        assert unreachable.status()["last_error"] == "the card is gone; plug it in"

    play(story)
