"""What a profile of the provisioning service changes in a session, and what it never does."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.realtime import configuration, profile
from appliance.realtime.configuration import Wishes
from appliance.realtime.profile import NO_PROFILE, Profile
from appliance.realtime.session import Ticket
from tests.fakes.realtime_server import RealtimeServer
from tests.realtime.link import QUICK, Link
from tests.realtime.talk import TOOL, Json, Talk, checked

WISHES = Wishes("gpt-realtime-2", "marin", "Be a friend.", tools=(TOOL,))
SAID: Json = {
    "instructions": "You are the kitchen's.",
    "max_output_tokens": 200,
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "low"},
    "truncation": "auto",
    "prompt": {"id": "pmpt_1"},
    "audio": {
        "input": {"noise_reduction": {"type": "far_field"}, "transcription": {"model": "gpt-transcribe"}},
        "output": {"voice": "cedar", "speed": 1.25},
    },
}


def asked(wishes: Wishes, said: object, *, binds_tools: bool = False, reduced: bool = False) -> Json:
    taken = profile.read(said, binds_tools=binds_tools)
    session = configuration.session(wishes, model=wishes.model, server_vad=False, reduced=reduced, profile=taken)
    return checked(json.dumps({"type": "session.update", "event_id": "a", "session": session}))["session"]  # type: ignore[no-any-return]


def test_all_that_a_profile_says_is_asked_for() -> None:
    session = asked(WISHES, SAID)
    assert {key: session[key] for key in SAID if key != "audio"} == {k: v for k, v in SAID.items() if k != "audio"}
    for side in ("input", "output"):
        assert session["audio"][side].items() >= SAID["audio"][side].items()
        assert session["audio"][side]["format"] == configuration.PCM
    assert session["tools"] == [TOOL]
    assert asked(WISHES, None) == configuration.session(WISHES, model=WISHES.model, server_vad=False)


@pytest.mark.parametrize(("path", "name"), configuration.WISHES.items())
def test_what_the_owner_wrote_wins_over_the_profile(path: profile.Path, name: str) -> None:
    wishes = Wishes("gpt-realtime-2", "ash", "Mine.", "local", "audio", 0.9, "near_field", "whisper-1", 77)
    own = Wishes(
        "gpt-realtime-2", "ash", "Mine.", "local", "audio", 0.9, "near_field", "whisper-1", 77, own=frozenset([name])
    )
    ours, theirs, mixed = asked(wishes, None), asked(wishes, SAID), asked(own, SAID)
    for other in configuration.WISHES:
        found = [_at(session, other) for session in (ours, theirs, mixed)]
        assert found[0] != found[1]
        assert found[2] == found[0 if other == path else 1]


def _at(session: Json, path: profile.Path) -> object:
    found: object = session
    for step in path:
        assert isinstance(found, dict)
        found = found[step]
    return found


def test_what_the_device_fixes_is_no_profiles() -> None:
    hostile = {
        "type": "transcription",
        "model": "dear",
        "output_modalities": ["text"],
        "tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x.example"}],
        "tracing": "auto",
        "audio": {
            "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
            "output": {"format": {"type": "audio/pcmu"}},
        },
    }
    assert asked(WISHES, hostile) == asked(WISHES, None)


def test_tools_that_are_bound_are_not_replaced() -> None:
    full, reduced = (asked(WISHES, {}, binds_tools=True, reduced=reduced) for reduced in (False, True))
    assert "tools" not in full
    assert "tools" not in reduced


def test_a_server_that_refuses_still_hears_instructions_and_voice() -> None:
    session = asked(WISHES, SAID, reduced=True)
    assert (session["instructions"], session["audio"]["output"]["voice"]) == ("You are the kitchen's.", "cedar")
    plain = configuration.session(WISHES, model=WISHES.model, server_vad=False, reduced=True)
    assert session.keys() == plain.keys()
    assert session["audio"]["input"] == plain["audio"]["input"]
    assert session["audio"]["output"].keys() == plain["audio"]["output"].keys()


def test_reasoning_is_not_asked_of_a_model_that_cannot() -> None:
    """Where the profile's first model is gone, another one may get its settings."""
    taken = profile.read(SAID)
    session = configuration.session(WISHES, model="gpt-realtime-1.5", server_vad=False, profile=taken)
    assert not {"reasoning", "parallel_tool_calls"} & session.keys()
    assert session["instructions"] == "You are the kitchen's."
    assert "reasoning" in configuration.session(WISHES, model="house", server_vad=False, profile=taken)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("be nice", "session"),
        ([], "session"),
        ({"audio": 7}, "session.audio"),
        ({"audio": {"input": None}}, "session.audio.input"),
        ({"instructions": ["x"]}, "session.instructions"),
        ({"instructions": None, "max_output_tokens": True}, "session.instructions, session.max_output_tokens"),
        ({"audio": {"output": {"voice": 3, "speed": ""}}}, "session.audio.output.voice, session.audio.output.speed"),
        ({"prompt": {"variables": [[[[[[[[["deep"]]]]]]]]]}}, "session.prompt"),
    ],
)
def test_nonsense_is_left_out_and_told_in_one_line(said: object, named: str, caplog: pytest.LogCaptureFixture) -> None:
    assert asked(WISHES, said) == asked(WISHES, None)
    (line,) = caplog.messages
    assert f": {named}; left out" in line
    kept = profile.read({"tool_choice": "none", **said} if isinstance(said, dict) else said)
    assert kept.settings == ({("tool_choice",): "none"} if isinstance(said, dict) else {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*SAID, "input", "output", "voice"]), inner),
)


@given(said=JSON)
def test_whatever_a_service_says_a_session_comes_of_it(said: object) -> None:
    talk = Talk()
    talk.protocol.connected("m", profile.read(said))
    talk.say("session.created")
    frame = talk.protocol.next_frame()
    assert frame is not None
    assert json.loads(frame.text)["session"]["type"] == "realtime"


# --- each session has the profile that its credential came with ---


def updates(talk: Talk) -> list[Json]:
    return [event["session"] for event in talk.pump() if event["type"] == "session.update"]


def begun(talk: Talk, given: Profile) -> Json:
    talk.protocol.connected("gpt-realtime-2", given)
    talk.say("session.created")
    (session,) = updates(talk)
    return session


def test_each_session_is_asked_for_with_its_own_profile() -> None:
    talk = Talk(tools=(TOOL,))
    first = begun(talk, profile.read({"instructions": "Bound."}, binds_tools=True))
    assert (first["instructions"], "tools" in first) == ("Bound.", False)
    second = begun(talk, NO_PROFILE)
    assert (second["instructions"], second["tools"]) == ("Be brief.", [TOOL])


def test_a_successor_brings_its_own_profile() -> None:
    talk = Talk(tools=(TOOL,)).open()
    given = profile.read({"instructions": "Next."}, binds_tools=True)
    other = talk.protocol.successor("gpt-realtime-2", given)
    list(other.receive('{"type":"session.created"}'))
    frame = other.next_frame()
    assert frame is not None
    session = json.loads(frame.text)["session"]
    assert (session["instructions"], "tools" in session) == ("Next.", False)
    list(other.receive('{"type":"session.updated"}'))
    talk.protocol.adopt(other)
    assert talk.protocol.profile == given


def test_the_session_that_replaces_an_ageing_one_has_the_profile_of_its_own_credential() -> None:
    async def main() -> None:
        timing = replace(QUICK, ageing_s=0.1, old_s=60.0)
        async with RealtimeServer() as server, Link(server.url, timing=timing) as link:

            async def mint() -> Ticket:
                given = profile.read({"instructions": f"Of {link.minted}."}, binds_tools=link.minted > 0)
                return replace(await link.own_mint(), profile=given)

            link.mint = mint
            link.session.open()
            await link.end(2)
            asked = [event["session"] for event in server.of("session.update")][:2]
            assert [session["instructions"] for session in asked] == ["Of 0.", "Of 1."]
            assert ["tools" in session for session in asked] == [True, False]

    asyncio.run(main())


def test_no_later_update_of_the_session_names_tools() -> None:
    talk = Talk(turn_detection="server_vad", tools=(TOOL,))
    begun(talk, profile.read({}, binds_tools=True))
    talk.say("session.updated")
    talk.protocol.set_server_vad(False)
    (off,) = updates(talk)
    talk.say("session.updated")
    talk.protocol.set_server_vad(True)
    (on,) = updates(talk)
    assert off["audio"]["input"]["turn_detection"] is None
    assert on["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    assert off.keys() == on.keys() == {"type", "audio"}


def test_a_refused_update_is_reduced_without_tools_that_are_bound() -> None:
    talk = Talk(tools=(TOOL,))
    begun(talk, profile.read(SAID, binds_tools=True))
    talk.error("unknown_parameter", "No.")
    (reduced,) = updates(talk)
    assert "tools" not in reduced
    assert reduced["audio"]["output"]["voice"] == "cedar"
