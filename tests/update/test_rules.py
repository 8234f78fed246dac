"""The pure rules: versions, staging, what follows of an offer, idle, the verdict, and the record's steps."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import UpdateError
from appliance.update import health, idle, record, staging, versions
from appliance.update.channel import Answer, Channel, Device, Wish, judge, parse
from appliance.update.health import Facts, Verdict
from appliance.update.record import Record

OFFER = Channel(
    version="0.2.0", bundle="voice-0.2.0.raucb", sha256="a" * 64, size=1000, compatible="voice-arm64-rpi", percent=100
)
DEVICE = Device("0.1.0", "voice-arm64-rpi", "thumb", {})


# --- versions ---


def test_versions_sort_from_old_to_new() -> None:
    rising = ["0.1", "0.1.0.1", "0.2.0-alpha", "0.2.0-rc.1", "0.2.0-rc.2", "0.2.0-rc.10", "0.2.0", "0.2.0.3", "0.10.0"]
    assert sorted(set(rising), key=versions.key) == rising
    assert versions.key("0.2") == versions.key("0.2.0.0")


@pytest.mark.parametrize("text", ["", "1", "v1.2", "1.2.3.4.5.6", "1..2", "1.2-", "1.2 ", "1.2\n", "1.1234567890"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        versions.key(text)


# --- staging ---


def device(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["0.2.0", "1.0.0-rc.1", "7.4.2"]), st.floats(0.5, 99.5))
def test_the_share_of_devices_is_the_percentage(version: str, percent: float) -> None:
    count = sum(staging.is_in(device(number), version, percent) for number in range(10_000))
    assert abs(count / 100 - percent) < 2.0  # four standard deviations of 10,000 at worst


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.floats(0, 100), st.floats(0, 100))
def test_who_is_in_stays_in_as_it_grows(thumbprint: str, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert staging.is_in(thumbprint, "0.2.0", more) or not staging.is_in(thumbprint, "0.2.0", less)


def test_everybody_and_nobody() -> None:
    everyone = [device(number) for number in range(2000)]
    assert all(staging.is_in(one, "0.2.0", 100) for one in everyone)
    assert not any(staging.is_in(one, "0.2.0", 0) for one in everyone)


def test_the_first_are_others_each_time() -> None:
    first = {n for n in range(5000) if staging.is_in(device(n), "0.2.0", 10)}
    second = {n for n in range(5000) if staging.is_in(device(n), "0.3.0", 10)}
    assert len(first & second) < 0.25 * len(first)


def test_a_device_without_a_key_waits_for_everybody() -> None:
    assert not staging.is_in("", "0.2.0", 99.9)
    assert staging.is_in("", "0.2.0", 100)


# --- the channel ---


def test_a_channel_file_is_read_and_newer_keys_do_not_matter() -> None:
    data = msgspec.json.encode({**msgspec.to_builtins(OFFER), "notes": "a later key"})
    assert parse(data, "x") == OFFER


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bundle", "../../etc/shadow.raucb"),
        ("bundle", "/a.raucb"),
        ("bundle", ".hidden.raucb"),
        ("bundle", "a.img"),
        ("sha256", "A" * 64),
        ("size", 0),
        ("size", 2**40),
        ("percent", 101),
        ("percent", -1),
        ("version", "new"),
        ("version", "1.2\n"),
        ("compatible", ""),
    ],
)
def test_a_bad_value_is_named(key: str, value: object) -> None:
    data = msgspec.json.encode({**msgspec.to_builtins(OFFER), key: value})
    with pytest.raises(UpdateError) as refused:
        parse(data, "https://x/stable.json")
    assert key in str(refused.value)
    assert "https://x/stable.json" in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"\xff\xfe", b"[" * 5000])
def test_what_is_no_channel_file_is_said(data: bytes) -> None:
    with pytest.raises(UpdateError):
        parse(data, "https://x/stable.json")


@pytest.mark.parametrize(
    ("offer", "device", "wish", "answer"),
    [
        ({}, {}, Wish(), Answer.TAKE),
        ({"version": "0.1.0"}, {}, Wish(), Answer.CURRENT),
        ({"version": "0.1"}, {}, Wish(older=True), Answer.CURRENT),
        ({"version": "0.0.9"}, {}, Wish(), Answer.OLDER),
        ({"version": "0.0.9"}, {}, Wish(by_person=True), Answer.OLDER),
        ({"version": "0.0.9"}, {}, Wish(by_person=True, older=True), Answer.TAKE),
        ({"compatible": "toaster"}, {}, Wish(True, True, True), Answer.FOREIGN),
        ({}, {"failed": {"0.2.0": "no sound"}}, Wish(by_person=True), Answer.FAILED),
        ({}, {"failed": {"0.2.0": "no sound"}}, Wish(by_person=True, again=True), Answer.TAKE),
        ({}, {"failed": {"0.1.9": "no sound"}}, Wish(), Answer.TAKE),
        ({"percent": 0}, {}, Wish(), Answer.LATER),
        ({"percent": 0}, {}, Wish(by_person=True), Answer.TAKE),
        ({"percent": 99.9}, {"thumbprint": ""}, Wish(), Answer.LATER),
    ],
)
def test_what_follows_of_an_offer(offer: dict[str, object], device: dict[str, Any], wish: Wish, answer: Answer) -> None:
    judged = judge(msgspec.structs.replace(OFFER, **offer), DEVICE._replace(**device), wish)
    assert judged.answer is answer
    assert judged.why


# --- idle ---


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (None, ""),
        ({"phase": "idle"}, ""),
        ({"phase": "idle", "muted": True, "timers": 0, "enrolment": {"state": "enrolled"}}, ""),
        ({"phase": "idle", "mic_open": True, "led": "attentive"}, ""),
        ({"phase": "fault"}, ""),
        ({"phase": "fault", "enrolment": {"state": "waiting", "code": "123"}}, "a code waits to be approved"),
        ({"phase": "idle", "timers": 1}, "a timer runs"),
        ({"phase": "idle", "led": "calibrating"}, "it calibrates"),
        ({}, "it is None"),
        *[({"phase": phase}, f"it is {phase}") for phase in ("listening", "thinking", "speaking", "updating")],
    ],
)
def test_who_would_be_disturbed(status: dict[str, object] | None, why: str) -> None:
    assert idle.disturbed(status) == why


def test_hours() -> None:
    assert [hour for hour in range(24) if idle.in_hours("02-05", hour)] == [2, 3, 4]
    assert [hour for hour in range(24) if idle.in_hours("22-01", hour)] == [0, 22, 23]
    assert all(idle.in_hours("", hour) for hour in range(24))
    assert all(idle.in_hours("05-05", hour) for hour in range(24))


# --- the verdict ---

WELL = Facts(ready=True, sound="moves", link="reached")


def facts(**changed: str | bool) -> Facts:
    return msgspec.structs.replace(WELL, **changed)


@pytest.mark.parametrize(
    ("found", "before", "late"),
    [
        (WELL, None, Verdict.KEEP),
        (facts(sound="muted"), WELL, Verdict.KEEP),
        (facts(link="absent"), WELL, Verdict.KEEP),
        (facts(link="unset"), WELL, Verdict.KEEP),
        (facts(ready=False, sound="unknown"), WELL, Verdict.RETURN),
        (facts(ready=False, sound="unknown"), facts(ready=False), Verdict.RETURN),
        (facts(sound="fails"), WELL, Verdict.RETURN),
        (facts(sound="fails"), None, Verdict.RETURN),
        (facts(sound="fails"), facts(sound="muted"), Verdict.RETURN),
        (facts(sound="fails"), facts(sound="unknown"), Verdict.RETURN),
        (facts(sound="fails"), facts(sound="fails"), Verdict.KEEP),  # a card that was gone before
        (facts(sound="unknown"), facts(sound="fails"), Verdict.LATER),  # it was not seen: somebody talked all the time
        (facts(link="away"), WELL, Verdict.LATER),
        (facts(link="away"), None, Verdict.LATER),
        (facts(link="away"), facts(link="absent"), Verdict.LATER),
        (facts(link="away"), facts(link="away"), Verdict.KEEP),  # a service that was away before
        (facts(link="unknown"), facts(link="away"), Verdict.LATER),
        (facts(sound="fails", link="away"), WELL, Verdict.RETURN),
    ],
)
def test_the_verdict(found: Facts, before: Facts | None, late: Verdict) -> None:
    early = Verdict.KEEP if late is Verdict.KEEP else Verdict.WAIT
    assert health.judge(found, before, 30).verdict is early
    assert health.judge(found, before, health.LIMIT_S - 1).verdict is early
    assert health.judge(found, before, health.LIMIT_S).verdict is late
    assert health.judge(found, before, health.LIMIT_S).why


# --- the record ---

WAITS = record.installed(Record(thumbprint="t"), "0.2.0", "B")


def test_a_version_that_goes_back_without_a_verdict_is_tried_a_bounded_number_of_times() -> None:
    now = WAITS
    for trial in range(1, record.TRIALS + 1):
        now = record.tried(now, WELL)
        assert now.waiting is not None
        assert (now.waiting.trials, now.waiting.started, now.waiting.before) == (trial, True, WELL)
        now = record.returned(now, "then", "it did not come up")
        assert (now.waiting is None) == (trial == record.TRIALS)
    assert now.failed == {"0.2.0": "it did not come up, 3 times"}


def test_a_failure_is_final_and_only_a_person_takes_it_back() -> None:
    failed = record.failed(record.tried(WAITS, WELL), "0.2.0", "then", "no sound")
    assert (failed.waiting, failed.failed) == (None, {"0.2.0": "no sound"})
    assert record.installed(failed, "0.3.0", "B").failed == {"0.2.0": "no sound"}
    assert record.installed(failed, "0.2.0", "B").failed == {}


def test_failures_are_few_and_the_newest() -> None:
    now = Record()
    for number in range(20):
        now = record.failed(now, f"0.{number}.0", "then", "no sound")
    assert list(now.failed) == [f"0.{number}.0" for number in range(12, 20)]


def test_the_record_survives_and_what_is_damaged_is_said(tmp_path: Path) -> None:
    now = record.kept(record.tried(WAITS, facts(link="away")), "then", "well")
    record.save(tmp_path, record.tried(WAITS, facts(link="away")))
    assert record.load(tmp_path) == record.tried(WAITS, facts(link="away"))
    record.save(tmp_path, now)
    assert record.load(tmp_path).last == "0.2.0 is kept: well"
    (tmp_path / record.FILE_NAME).write_text('{"failed": 3}')
    with pytest.raises(UpdateError, match="is damaged"):
        record.load(tmp_path)
