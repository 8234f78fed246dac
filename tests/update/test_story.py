"""From an offer to a version that is kept, or left: told with the real RAUC, selector, HTTPS and control socket."""

from __future__ import annotations

import threading

import pytest

from appliance.config import Update
from appliance.errors import ApplianceError, UpdateError
from appliance.update import updater
from appliance.update.channel import Wish
from tests.update.story import Story, on_trial

PERSON = Wish(by_person=True)


def refused(story: Story, *words: str, wish: Wish | None = None) -> None:
    with pytest.raises(ApplianceError) as error:
        story.update(wish)
    for word in words:
        assert word in str(error.value)
    assert not story.wants_restart
    assert story.device.booted == story.device.default == "A"


# --- the good way ---


def test_an_update_is_installed_tried_and_kept(story: Story) -> None:
    on_trial(story)
    assert ("stand-still", None) in story.spoken.told, "whoever looks sees why a press does nothing"
    assert "0.2.0 is kept: microphone and loudspeaker move, the service answers" in story.settle()
    assert story.device.default == "B"
    story.restart()
    assert story.versions[story.device.booted] == "0.2.0"
    assert story.settle() == "nothing is on trial"
    assert story.update() == "0.2.0 is the newest"
    assert [*story.directory.glob("*.part")] == [], "the bundle is not kept"


def test_the_next_one_goes_into_the_slot_that_was_left(story: Story) -> None:
    on_trial(story)
    story.settle()
    story.offer("0.3.0")
    story.update()
    story.restart()
    assert (story.device.booted, story.device.default) == ("A", "B")
    story.settle()
    assert story.device.default == "A"
    assert story.device.holds("A").startswith(b"root of 0.3.0")


def test_who_the_device_is_is_remembered_for_when_the_appliance_does_not_run(story: Story) -> None:
    story.offer("0.2.0", percent=0)
    assert "not yet to this one" in story.update()
    assert story.record.thumbprint == "ours"
    story.daemon(runs=False)
    story.update()
    assert story.record.thumbprint == "ours"


def test_an_appliance_that_does_not_run_is_nobody_to_disturb(story: Story) -> None:
    story.offer("0.2.0")
    story.daemon(runs=False)
    assert "restarting" in story.update()


# --- what is not taken ---


def test_nothing_older_by_itself(story: Story) -> None:
    story.versions["A"] = "0.9.0"
    story.offer("0.2.0")
    assert "older than 0.9.0" in story.update()
    assert "older than 0.9.0" in story.update(PERSON)
    assert "restarting" in story.update(Wish(by_person=True, older=True))


def test_a_stage_that_is_not_ours_yet_waits_but_not_for_a_person(story: Story) -> None:
    story.offer("0.2.0", percent=0)
    assert "offered to 0 %" in story.update()
    assert not story.wants_restart
    assert "restarting" in story.update(PERSON)


def test_a_forged_bundle_is_refused_once_and_for_all(story: Story) -> None:
    story.offer("forged")
    refused(story, "signature")
    assert story.record.failed == {"0.2.0": "its signature is refused"}
    asked = len(story.server.asked)
    assert "failed here" in story.update()
    assert [name for name, _ in story.server.asked[asked:]] == ["stable.json"], "it is not fetched again"
    story.offer("0.2.0")
    assert "restarting" in story.update(Wish(by_person=True, again=True))


def test_a_signature_that_is_too_early_for_the_clock_is_not_held_against_the_version(story: Story) -> None:
    story.offer("early")
    refused(story, "not yet valid", "is the clock set?")
    assert story.record.failed == {}, "on the card image nobody could ask for it again"
    story.offer("0.2.0")  # as the same one is once the clock is set
    assert "restarting" in story.update()


def test_a_bundle_for_another_kind_of_device_is_not_even_fetched(story: Story) -> None:
    story.offer("foreign")
    assert "is for toaster" in story.update()
    assert [name for name, _ in story.server.asked] == ["stable.json"]


def test_a_torn_line_costs_nothing_but_time(story: Story) -> None:
    story.offer("0.2.0")
    story.server.tears_after = len(story.bundles["0.2.0"]) // 3 + 1
    refused(story, "broke off")
    refused(story, "broke off")
    story.server.tears_after = None
    assert "restarting" in story.update()
    assert story.server.asked[-1][1].startswith("bytes=")


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_fails_is_asked_again_later(story: Story, status: int) -> None:
    story.offer("0.2.0")
    story.server.status = status
    refused(story, str(status))
    story.server.status = None
    assert "restarting" in story.update()


def test_without_a_folder_it_says_which_key_is_missing(story: Story) -> None:
    story.settings = Update()
    refused(story, "[update] url")


def test_one_update_at_a_time(story: Story) -> None:
    with updater.alone(story.directory), pytest.raises(UpdateError, match="under way"):
        story.update()


# --- nobody is disturbed ---


@pytest.mark.parametrize("phase", ["listening", "thinking", "speaking", "updating"])
def test_never_in_a_conversation(story: Story, phase: str) -> None:
    story.offer("0.2.0")
    story.spoken.phases = [phase]
    refused(story, f"not now: it is {phase}", wish=PERSON)
    assert story.device.holds("B") == bytes(400_000), "not even written"
    story.spoken.phases = ["idle"]
    assert "restarting" in story.update(PERSON)


def test_a_timer_is_not_forgotten_for_an_update(story: Story) -> None:
    story.offer("0.2.0")
    story.spoken.more = {"timers": 1}
    refused(story, "a timer runs")


@pytest.mark.parametrize("more", [{"muted": True}, {"mic_open": True, "led": "attentive"}])
def test_a_muted_or_hands_free_device_is_updated_too(story: Story, more: dict[str, object]) -> None:
    story.offer("0.2.0")
    story.spoken.more = more
    assert "restarting" in story.update()


def test_it_has_to_be_calm_for_a_minute_before_it_restarts(story: Story) -> None:
    story.offer("0.2.0")
    story.spoken.phases = ["idle"] * 10 + ["listening", "idle"]
    refused(story, "not now: it is listening")
    assert story.record.waiting is not None, "it is installed, and only waits"
    began, fetched = story.up_s, len(story.server.asked)
    assert "restarting" in story.update()
    assert story.up_s - began >= updater.CALM_S
    assert [name for name, _ in story.server.asked[fetched:]] == ["stable.json"], "not fetched again"


def test_somebody_who_comes_in_the_last_moment_is_served(story: Story) -> None:
    story.offer("0.2.0")
    busy = threading.Event()

    def press() -> None:
        story.spoken.phases = ["listening"]
        busy.set()

    story.naps = [lambda: None] * 12 + [press]  # during the trial of the sound
    refused(story, "it is listening")
    assert busy.is_set()
    assert story.record.waiting is not None
    assert story.record.waiting.trials == 0


def test_the_hours_hold_for_the_restart_and_not_for_a_person(story: Story) -> None:
    story.settings = Update(url=story.server.url, hours="22-23")
    story.now = story.now.astimezone().replace(hour=12)
    story.offer("0.2.0")
    assert "between the hours 22-23" in story.update()
    assert not story.wants_restart
    story.now = story.now.replace(hour=22)
    assert "restarting" in story.update()


# --- what becomes of it ---


def test_a_version_whose_sound_stands_goes_back_and_is_not_tried_again(story: Story) -> None:
    on_trial(story)
    story.spoken.sound = "fails"
    told = story.settle()
    assert "0.2.0 failed: it stands" in told
    assert story.up_s >= 900
    assert story.wants_restart
    story.restart()
    assert story.device.booted == "A"
    assert story.settle() == "nothing is on trial"
    assert "failed here (it stands)" in story.update()
    assert "failed here" in story.update(PERSON)
    story.spoken.sound = "moves"
    assert "restarting" in story.update(Wish(by_person=True, again=True))


def test_a_version_that_does_not_start_the_appliance_goes_back(story: Story) -> None:
    on_trial(story)
    story.daemon(runs=False)
    assert "the appliance does not run" in story.settle()
    story.restart()
    assert story.device.booted == "A"
    assert "0.2.0" in story.record.failed


def test_a_slow_start_is_waited_for(story: Story) -> None:
    on_trial(story)
    story.daemon(runs=False)
    story.naps = [lambda: None] * 20 + [lambda: story.daemon(runs=True)]
    assert "is kept" in story.settle()
    assert 400 < story.up_s < 900


def test_a_card_that_was_gone_before_is_not_its_fault(story: Story) -> None:
    story.spoken.sound = "fails"
    on_trial(story)
    assert "is kept: no sound, as before" in story.settle()


def test_a_muted_microphone_stays_closed_and_does_not_keep_an_update_away(story: Story) -> None:
    story.spoken.sound = "muted"
    on_trial(story)
    assert "muted and was not tried" in story.settle()


def test_without_a_network_the_sound_decides(story: Story) -> None:
    on_trial(story)
    story.link = "absent"
    assert "is kept: microphone and loudspeaker move, there is no network" in story.settle()


def test_a_service_that_is_away_sends_it_back_but_three_times_at_most(story: Story) -> None:
    on_trial(story)
    for time in (1, 2, 3):
        story.link = "away"
        assert "does not answer" in story.settle()
        story.restart()
        assert story.device.booted == "A"
        story.settle()
        story.link = "reached"
        assert (story.record.waiting is None) == (time == 3)
        if time < 3:
            assert "restarting" in story.update()
            story.restart()
            assert story.device.booted == "B"
    assert "failed here (it does not answer, 3 times)" in story.update()


def test_a_version_that_is_left_waits_for_the_end_of_a_conversation(story: Story) -> None:
    on_trial(story)
    story.spoken.sound = "fails"

    def talk() -> None:
        if story.up_s > 850:
            story.spoken.phases = ["speaking"] if story.up_s < 1000 else ["idle"]

    story.naps = [talk] * 400
    story.settle()
    assert story.wants_restart
    assert story.up_s >= 1000
