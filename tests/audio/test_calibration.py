"""The measurement of the loop, in rooms that are known exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.audio.calibration.probe import FULL, QUIET, Form, sound
from appliance.audio.calibration.report import report
from appliance.audio.format import level_dbfs
from appliance.audio.loop import judge
from appliance.errors import DeviceError
from tests.audio.echoes import Bench, measured
from tests.audio.recordings import recording

Floats = NDArray[np.float64]
SPEECH = "librivox/sense_and_sensibility_01_austen_64kb-0930.wav"
FORMS = pytest.mark.parametrize("form", [FULL, QUIET], ids=lambda form: form.name)


# --- the sound ---


def test_the_quiet_form_is_short_and_soft_and_has_no_bang() -> None:
    assert QUIET.whole < 1.3 * 16_000
    assert -20 < level_dbfs(sound(QUIET, 1.0)) - level_dbfs(sound(FULL, 1.0)) < -15
    for form in (FULL, QUIET):
        made = sound(form, 1.0)
        assert len(made) == form.sounding
        assert np.abs(made[[0, -1]]).max() <= 1
        assert np.abs(made.astype(int)).max() < 32_000, "the probe itself does not clip"
    assert np.abs(sound(QUIET, 1.0)[: 16_000 // 50].astype(int)).max() < 200


# --- what is found ---


@settings(max_examples=8, deadline=None)
@given(
    delay_ms=st.floats(0, 440),
    loss_db=st.floats(-3, 25),
    form=st.sampled_from((FULL, QUIET)),
    rate=st.sampled_from((16_000, 44_100, 48_000)),
)
def test_delay_and_return_loss_are_found(delay_ms: float, loss_db: float, form: Form, rate: int) -> None:
    found = measured(form, rate=rate, delay_ms=delay_ms, gains=(10 ** (-loss_db / 20),))
    assert found.delay_ms == pytest.approx(delay_ms, abs=1.0)
    assert found.return_loss_db == pytest.approx(loss_db, abs=1.0)
    assert found.echo_dbfs == pytest.approx(level_dbfs(sound(form, 0.64)) - loss_db, abs=1.2)
    assert found.noise_dbfs == pytest.approx(20 * np.log10(10 / 32768), abs=6.0)
    assert (found.overruns, found.underruns, found.whole) == (0, 0, True)


@FORMS
def test_a_clean_loop_can_be_cancelled(form: Form) -> None:
    found = measured(form)
    assert found.erle_db is not None
    assert found.erle_db > 15
    assert judge(found).full_duplex
    assert found.distortion_db is None if form is QUIET else found.distortion_db < -30  # type: ignore[operator]


@FORMS
def test_a_position_that_is_known_in_steps_costs_a_few_milliseconds(form: Form) -> None:
    found = measured(form, step=480, delay_ms=30.0)
    assert found.delay_ms == pytest.approx(30.0, abs=10.0)
    assert found.erle_db is not None
    assert found.erle_db > 15


@FORMS
def test_a_room_loud_with_noise_hides_the_level_and_not_the_delay(form: Form) -> None:
    found = measured(form, delay_ms=120.0, gains=(0.1,), noise={"full": 800.0, "quiet": 200.0}[form.name])
    assert found.delay_ms == pytest.approx(120.0, abs=1.0)
    assert (found.erle_db, found.distortion_db) == (None, None)
    assert judge(found).full_duplex


@FORMS
def test_where_nothing_comes_back_no_echo_is_made_up(form: Form) -> None:
    for said in (None, recording(SPEECH)[: 16_000 * 5], recording(SPEECH)[16_000 * 5 : 16_000 * 10]):
        found = measured(form, rate=16_000, gains=(0.0,), said=said)
        assert found.delay_ms is None
        assert (found.echo_dbfs, found.return_loss_db, found.loudest_dbfs, found.erle_db) == (None,) * 4
        assert "echo              not heard" in report(found)
        verdict = judge(found)
        assert verdict.full_duplex
        assert "no echo was heard" in str(verdict)


@FORMS
def test_a_person_who_talks_meanwhile_does_not_hide_the_echo(form: Form) -> None:
    said = (recording(SPEECH)[16_000 : 16_000 * 6] * 0.1).astype(np.int16)
    found = measured(form, rate=16_000, delay_ms=60.0, said=said)
    assert found.delay_ms == pytest.approx(60.0, abs=1.0)
    assert found.return_loss_db is None or found.return_loss_db == pytest.approx(10.5, abs=2.5)
    assert judge(found).full_duplex


def test_a_room_that_echoes_for_long_is_no_distortion() -> None:
    chance = np.random.default_rng(3)
    tail = chance.normal(size=8000) * 10 ** (-3 * np.arange(8000) / 8000) * 0.02  # half a second until -60 dB
    tail[0] = 1.0

    found = measured(FULL, rate=16_000, answer=tail)
    assert found.distortion_db is not None
    assert found.distortion_db < -25
    assert judge(found).full_duplex


# --- what is wrong ---


@pytest.mark.parametrize(
    ("bend", "full_duplex"),
    [
        (lambda sound: np.tanh(sound * 2) / 2, True),
        (lambda sound: np.tanh(sound * 60) / 30, False),
        (lambda sound: np.clip(sound, -0.03, 0.03), False),
        (lambda sound: np.maximum(sound, 0.0), False),
    ],
    ids=["slightly soft", "overdriven", "clipped", "one-sided"],
)
def test_a_loudspeaker_that_distorts_is_told_from_one_that_does_not(
    bend: Callable[[Floats], Floats], full_duplex: bool
) -> None:
    found = measured(FULL, bend=bend)
    verdict = judge(found)
    assert verdict.full_duplex is full_duplex
    if not full_duplex:
        assert found.distortion_db is not None
        assert found.distortion_db > -10
        assert "the loudspeaker distorts" in verdict.reason
        assert any("distortion" in line and "turn the volume down" in line for line in report(found))


def test_distortion_is_measured_in_decibels() -> None:
    played = sound(FULL, 0.64) / 32768.0
    for drive in (2.0, 6.0, 15.0):
        found = measured(FULL, bend=lambda sound, drive=drive: np.tanh(sound * drive) / drive)
        bent = np.tanh(played * drive)
        linear = bent @ played / (played @ played)
        true = 10 * np.log10(np.mean((bent - linear * played) ** 2) / np.mean(bent**2))
        assert found.distortion_db == pytest.approx(true, abs=2.5)


def test_a_microphone_that_clips_on_the_echo_alone() -> None:
    found = measured(FULL, gains=(8.0,))
    assert found.clipped_samples > 100
    verdict = judge(found)
    assert not verdict.full_duplex
    assert "the microphone clips" in verdict.reason
    assert any("clipped samples" in line and "gain down" in line for line in report(found))


def test_the_quiet_form_foresees_that_a_loud_sound_would_clip() -> None:
    found = measured(QUIET, gains=(4.0,))
    assert found.clipped_samples == 0
    assert found.loudest_dbfs == pytest.approx(20 * np.log10(4 * 0.64), abs=1.0)
    assert "a loud sound comes back" in judge(found).reason


@pytest.mark.parametrize(("form", "delay_ms"), [(FULL, 470.0), (FULL, 750.0), (QUIET, 470.0)])
def test_an_echo_that_comes_too_late(form: Form, delay_ms: float) -> None:
    found = measured(form, delay_ms=delay_ms)
    assert found.delay_ms == pytest.approx(delay_ms, abs=1.0)
    verdict = judge(found)
    assert not verdict.full_duplex
    assert f"comes {delay_ms:.0f} ms late" in verdict.reason


def test_without_a_canceller_the_echo_has_to_be_soft() -> None:
    loud, soft = (measured(FULL, canceller="none", gains=(gain,)) for gain in (0.3, 0.01))
    assert (loud.erle_db, loud.distortion_db) == (None, None), "an echo that the board has worked on is not linear"
    assert not judge(loud).full_duplex
    assert judge(soft).full_duplex


@FORMS
def test_each_microphone_is_looked_at(form: Form) -> None:
    found = measured(form, gains=(0.3, None, 0.1, 0.0, 0.3), microphones=(0, 1, 2, 3))
    assert [mic.channel for mic in found.microphones] == [0, 1, 2, 3]
    assert found.dead == (1,)
    assert found.conclusive
    first, _, third, deaf = found.microphones
    assert first.echo_dbfs is not None
    assert third.echo_dbfs is not None
    assert first.echo_dbfs - third.echo_dbfs == pytest.approx(9.5, abs=1.0)
    assert deaf.echo_dbfs is None
    lines = report(found)
    assert any(line.startswith("channel 1") and "delivers nothing" in line for line in lines)
    assert any(line.startswith("channel 3") and "echo not heard" in line for line in lines)


def test_one_clipping_microphone_is_not_hidden_by_the_others() -> None:
    found = measured(FULL, gains=(0.3, 8.0, 0.3))
    assert [mic.clipped_samples > 100 for mic in found.microphones] == [False, True, False]
    assert not judge(found).full_duplex


@FORMS
def test_dead_microphones_tell_nothing(form: Form) -> None:
    found = measured(form, gains=(None, None))
    assert not found.conclusive
    assert "nothing is known: the microphone delivers nothing (channel 0, 1)" in str(judge(found))


# --- what goes wrong meanwhile ---


@FORMS
@pytest.mark.parametrize("lost", ["captured", "played"])
def test_lost_sound_is_counted_and_the_measurement_begins_again(form: Form, lost: str) -> None:
    bench = Bench(form, delay_ms=80.0)
    bench.script.at(bench.time.now + 0.7, bench.ear.lose if lost == "captured" else bench.loudspeaker.xrun)
    found = bench.run()
    assert (found.overruns, found.underruns) == ((1, 0) if lost == "captured" else (0, 1))
    assert found.whole
    assert found.delay_ms == pytest.approx(80.0, abs=1.0)
    assert found.erle_db is not None
    assert any("overruns" in line and "busy" in line for line in report(found))


@FORMS
def test_a_storm_of_losses_is_told_and_nothing_concluded(form: Form) -> None:
    bench = Bench(form)
    for number in range(100):
        bench.script.at(bench.time.now + 0.3 * number, bench.ear.lose)
    found = bench.run()
    assert found.overruns == 3
    assert not found.whole
    assert not found.conclusive
    assert "sound was lost (3 overruns, 0 underruns)" in str(judge(found))
    assert (bench.ear.closed, bench.loudspeaker.closed) == (True, True)


@pytest.mark.parametrize("frozen", ["microphone", "loudspeaker"])
@pytest.mark.parametrize("after_s", [0.0, 0.5])
def test_a_card_that_does_not_move_is_a_failure(frozen: str, after_s: float) -> None:
    bench = Bench(QUIET)

    def freeze() -> None:
        if frozen == "microphone":
            bench.ear.frozen = True
        else:
            bench.loudspeaker.freeze()

    bench.script.at(bench.time.now + after_s, freeze)
    with pytest.raises(DeviceError, match=frozen):
        bench.run()
    bench.measurement.close()
    assert (bench.ear.closed, bench.loudspeaker.closed) == (True, True)


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.6, 1.2, 1.4])
def test_it_may_be_closed_at_any_time(after_s: float) -> None:
    bench = Bench(QUIET)
    for _ in range(int(after_s / 0.02)):
        bench.measurement.pump(bench.time.now)
        bench.time.now += bench.measurement.due_s()
    bench.measurement.close()
    bench.measurement.close()
    assert (bench.ear.closed, bench.loudspeaker.closed) == (True, True)
    assert not bench.measurement.recording


def test_the_cards_are_free_while_it_computes_in_small_steps() -> None:
    bench = Bench(QUIET)
    steps = 0
    while not bench.measurement.done:
        bench.measurement.pump(bench.time.now)
        bench.time.now += bench.measurement.due_s()
        if not bench.measurement.recording:
            assert (bench.ear.closed, bench.loudspeaker.closed) == (True, True)
            assert bench.measurement.due_s() == 0
            steps += 1
    assert steps > 50, "no step does more than a few blocks of the canceller's work"
    assert bench.measurement.finding().erle_db is not None
