"""Power is lost at every step: what is left runs, is the old version or a trial of the new one, and updates."""

from __future__ import annotations

import contextlib

import pytest

from appliance.update import record, updater
from appliance.update.channel import Wish
from tests.update.story import Story, on_trial


class PowerCut(BaseException):
    """Nothing handles it."""


def test_a_cut_during_a_trial_comes_back_to_the_old_slot_and_is_tried_again(story: Story) -> None:
    on_trial(story)
    story.restart()  # whatever it was: nobody confirmed
    assert story.device.booted == "A"
    assert "it is tried again" in story.settle()
    assert "restarting" in story.update()
    story.restart()
    assert story.device.booted == "B"
    assert "is kept" in story.settle()


def test_a_version_that_never_comes_up_is_given_up_after_three_trials(story: Story) -> None:
    on_trial(story)
    for _ in range(record.TRIALS - 1):
        story.restart()
        story.settle()
        assert "restarting" in story.update()
        story.restart()
        assert story.device.booted == "B"
    story.restart()
    assert "failed: it did not come up" in story.settle()
    assert "failed here" in story.update()


def test_a_cut_between_confirming_and_writing_that_down_is_healed(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_trial(story)
    with monkeypatch.context() as cut:
        cut_at(cut, "record.save", 1, after=False)
        with pytest.raises(PowerCut):
            story.settle()
    story.restart()
    assert (story.device.booted, story.device.default) == ("B", "B")
    assert "confirmed at an earlier start" in story.settle()
    assert story.record.waiting is None


STEPS = ("download.clear", "record.save", "rauc.install", "rauc.start_other_once", "ask_restart")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_cut_at_any_step_of_an_update_leaves_a_device_that_runs_and_updates(
    story: Story, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """Each way of losing power ends in the old version or a trial of the new one, and then in the new one."""
    for time in range(1, 5):
        story.offer("0.2.0")
        with monkeypatch.context() as patch, contextlib.suppress(PowerCut):
            cut_at(patch, step, time, after=after)
            story.update()
        story.restart()
        assert story.device.default == "A", "nothing but a confirmation changes the default"
        if story.device.booted == "B":
            assert story.device.holds("B").startswith(b"root of 0.2.0")
            story.restart()
        story.settle()
    if "0.2.0" in story.record.failed:  # three trials were cut short, which looks like three crashes
        story.update(Wish(by_person=True, again=True))
    else:
        story.update()
    story.restart()
    assert "is kept" in story.settle()
    assert story.device.default == "B"


def cut_at(monkeypatch: pytest.MonkeyPatch, step: str, time: int, *, after: bool) -> None:
    """Lose power at the ``time``-th call of a step, before or after it is done."""
    place: object = updater
    for name in step.split(".")[:-1]:
        place = getattr(place, name)
    name = step.rsplit(".", 1)[-1]
    real, count = getattr(place, name), 0

    def cut(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == time and not after:
            raise PowerCut
        result = real(*arguments)
        if count == time:
            raise PowerCut
        return result

    monkeypatch.setattr(place, name, cut)
