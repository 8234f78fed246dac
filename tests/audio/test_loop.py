"""The judgement about a loop: a table of findings and what follows from each."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audio.loop import LEAD_MS, REACH_MS, Loop, Microphone, judge, reference_ms

MICROPHONE = Microphone(channel=0, noise_dbfs=-65.0, echo_dbfs=-32.0, clipped_samples=0, dead=False)
GOOD = Loop(
    form="full",
    canceller="aec3",
    gain_db=-4.0,
    microphones=(MICROPHONE,),
    noise_dbfs=-65.0,
    delay_ms=40.0,
    echo_dbfs=-32.0,
    return_loss_db=10.0,
    erle_db=24.0,
    distortion_db=-30.0,
    overruns=0,
    underruns=0,
    whole=True,
)
UNHEARD = msgspec.structs.replace(
    GOOD, delay_ms=None, echo_dbfs=None, return_loss_db=None, erle_db=None, distortion_db=None
)


def loop(good: Loop = GOOD, **changed: object) -> Loop:
    return msgspec.structs.replace(good, **changed)


def clipping(samples: int) -> tuple[Microphone, ...]:
    return (MICROPHONE, msgspec.structs.replace(MICROPHONE, channel=1, clipped_samples=samples))


DEAD = (msgspec.structs.replace(MICROPHONE, dead=True),)


@pytest.mark.parametrize(
    ("found", "full_duplex", "words"),
    [
        (GOOD, True, "24 dB of the echo are cancelled"),
        (UNHEARD, True, "no echo was heard"),
        # nothing is concluded where nothing was learnt
        (loop(UNHEARD, microphones=DEAD), True, "nothing is known: the microphone delivers nothing (channel 0)"),
        (loop(UNHEARD, whole=False, overruns=3), True, "nothing is known: sound was lost (3 overruns, 0 underruns)"),
        (loop(erle_db=None), True, "the echo is near to the noise"),
        (loop(erle_db=None, echo_dbfs=None, return_loss_db=None), True, "the echo is near to the noise"),
        # the microphone is driven too hard
        (loop(microphones=clipping(9)), True, "cancelled"),
        (loop(microphones=clipping(10)), False, "the microphone clips on the echo (10 samples)"),
        (loop(return_loss_db=2.1), True, "cancelled"),
        (loop(return_loss_db=1.9), False, "a loud sound comes back at -6 dBFS"),
        (loop(return_loss_db=-8.0), False, "a loud sound comes back at 4 dBFS"),
        (loop(return_loss_db=1.9, gain_db=-10.0), True, "cancelled"),
        # the loudspeaker is
        (loop(distortion_db=-10.1), True, "cancelled"),
        (loop(distortion_db=-6.0), False, "the loudspeaker distorts: -6 dB of the echo is not what was played"),
        # it cannot be cancelled
        (loop(delay_ms=450.0), True, "cancelled"),
        (loop(delay_ms=451.0), False, "the echo comes 451 ms late (limit 450)"),
        (loop(erle_db=10.0), True, "10 dB of the echo are cancelled"),
        (loop(erle_db=4.0), False, "only 4 dB of the echo can be cancelled"),
        # nothing of ours cancels it
        (loop(canceller="none", erle_db=None), False, "nothing takes the echo away: it comes back only 10 dB softer"),
        (loop(canceller="none", erle_db=None, return_loss_db=31.0), True, "the echo is near to the noise"),
        (loop(canceller="none", erle_db=None, echo_dbfs=-60.0), True, "the echo is near to the noise"),
    ],
)
def test_the_verdict(found: Loop, full_duplex: bool, words: str) -> None:
    verdict = judge(found)
    assert verdict.full_duplex is full_duplex
    assert words in str(verdict)
    assert verdict.hint or (full_duplex and verdict.known), "what is wrong has a remedy"
    if verdict.known:
        assert str(verdict).startswith(
            "full duplex: it hears you" if full_duplex else "half duplex: it does not listen"
        )


def test_a_deaf_channel_among_others_does_not_make_the_loop_unknown() -> None:
    found = loop(microphones=(MICROPHONE, *DEAD))
    assert found.dead == (0,)
    assert found.conclusive
    assert judge(found).full_duplex


LEVELS = st.none() | st.floats(-100, 50)


@given(
    delay_ms=st.none() | st.floats(-50, 800),
    return_loss_db=LEVELS,
    erle_db=LEVELS,
    distortion_db=LEVELS,
    clipped=st.integers(0, 1000),
    whole=st.booleans(),
    canceller=st.sampled_from(["aec3", "none"]),
)
def test_every_verdict_has_words_and_a_worse_loop_never_a_better_one(
    delay_ms: float | None,
    return_loss_db: float | None,
    erle_db: float | None,
    distortion_db: float | None,
    clipped: int,
    whole: bool,
    canceller: str,
) -> None:
    found = loop(
        delay_ms=delay_ms,
        return_loss_db=return_loss_db,
        erle_db=erle_db,
        distortion_db=distortion_db,
        microphones=clipping(clipped),
        whole=whole,
        canceller=canceller,
    )
    verdict = judge(found)
    assert verdict.reason
    assert verdict.full_duplex or verdict.hint
    worse = judge(loop(found, microphones=clipping(clipped + 500)))
    assert verdict.full_duplex or not worse.full_duplex


def test_the_reference_is_taken_so_that_the_echo_follows_it() -> None:
    assert reference_ms(loop(delay_ms=40.0), 200.0) == 40.0 - LEAD_MS, "what was measured counts more"
    assert reference_ms(loop(delay_ms=2.0), 0.0) < 0
    assert reference_ms(UNHEARD, 200.0) == reference_ms(None, 200.0) == 200.0 - LEAD_MS
    assert reference_ms(loop(delay_ms=700.0), 0.0) == REACH_MS - LEAD_MS
