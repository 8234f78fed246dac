"""Duck, then decide: walks over made-up evidence, and what holds whatever the evidence is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.bargein import BLOCK_S, BY_THE_BOARD, BargeIn, Cleared, Confirmed, Suspected, Tuning, Verdict
from appliance.audio.ears import Evidence

TUNING = Tuning(begin=0, young=0, wary=0)  # as in the middle of a reply, in a room that is known
ECHO = Evidence(
    voice=0.6,
    level_dbfs=-45.0,
    floor_dbfs=-60.0,
    left_db=-35.0,
    unexplained_db=-2.0,
    misled=False,
    jumped=False,
    far_active=True,
)
TALKER = Evidence(
    voice=0.9,
    level_dbfs=-30.0,
    floor_dbfs=-60.0,
    left_db=-6.0,
    unexplained_db=5.0,
    misled=False,
    jumped=False,
    far_active=True,
)
OVER_DUCKED = replace(TALKER, left_db=-1.0)
GHOST = replace(ECHO, voice=0.3, level_dbfs=TALKER.level_dbfs - 18, left_db=-20.0, unexplained_db=0.0)  # ducked
QUIET = replace(ECHO, voice=0.0, level_dbfs=-60.0)


class Watch:
    """A watch and its verdicts, each with the number of its block."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        self.bargein = BargeIn(tuning or TUNING)
        self.blocks = 0
        self.verdicts: list[tuple[int, Verdict]] = []

    def hear(self, evidence: Evidence, blocks: int = 1) -> None:
        for _ in range(blocks):
            verdict = self.bargein.block(self.blocks * BLOCK_S, evidence)
            if verdict is not None:
                self.verdicts.append((self.blocks, verdict))
            self.blocks += 1

    @property
    def kinds(self) -> list[type[Verdict]]:
        return [type(verdict) for _, verdict in self.verdicts]


def test_a_talker_is_suspected_at_once_and_confirmed_after_the_duck_has_settled() -> None:
    watch = Watch()
    watch.hear(ECHO, 50)
    watch.hear(TALKER)
    watch.hear(OVER_DUCKED, 30)
    assert watch.kinds == [Suspected, Confirmed]
    (suspected_at, _), (confirmed_at, confirmed) = watch.verdicts
    assert suspected_at == 50
    assert confirmed_at - suspected_at == TUNING.settle + TUNING.sure / TUNING.most
    assert isinstance(confirmed, Confirmed)
    assert confirmed.onset_at == pytest.approx(50 * BLOCK_S), "the onset is that of the first hint"
    assert watch.bargein.sure


def test_echo_alone_is_never_suspected_however_much_it_is_like_a_voice() -> None:
    watch = Watch()
    watch.hear(replace(ECHO, voice=1.0), 500)
    assert watch.verdicts == []


def test_a_suspicion_that_does_not_last_is_cleared_and_then_there_is_a_pause() -> None:
    watch = Watch()
    watch.hear(TALKER)
    watch.hear(QUIET, TUNING.patience)
    assert watch.verdicts == [(0, Suspected(0.0)), (TUNING.patience, Cleared(TUNING.patience * BLOCK_S))]
    watch.hear(TALKER, TUNING.pause)
    assert len(watch.verdicts) == 2, "the loudspeaker comes back in peace"
    watch.hear(TALKER)
    assert watch.kinds == [Suspected, Cleared, Suspected]
    again = watch.verdicts[-1][1]
    assert isinstance(again, Suspected)
    assert TUNING.patience * BLOCK_S < again.at <= watch.blocks * BLOCK_S, "its onset is not the old one's"


def test_what_falls_with_the_duck_was_echo() -> None:
    watch = Watch()
    watch.hear(TALKER)
    stayed = replace(OVER_DUCKED, voice=0.4, unexplained_db=2.0)
    watch.hear(replace(stayed, level_dbfs=stayed.level_dbfs - 18), TUNING.patience)
    assert watch.kinds == [Suspected, Cleared]
    watch = Watch()
    watch.hear(TALKER)
    watch.hear(stayed, TUNING.patience)
    assert watch.kinds == [Suspected, Confirmed]


def test_blocks_that_still_hold_the_full_echo_decide_nothing() -> None:
    watch = Watch()
    watch.hear(TALKER)
    watch.hear(OVER_DUCKED, TUNING.settle + 1)
    watch.hear(QUIET, TUNING.patience)
    assert watch.kinds == [Suspected, Cleared]


@pytest.mark.parametrize(
    "part",
    [
        {"voice": 0.05},
        {"left_db": TUNING.least_left_db},
        {"level_dbfs": -53.0, "floor_dbfs": -53.0 - TUNING.above_floor_db},
    ],
)
def test_each_part_of_the_evidence_is_needed_for_a_decision(part: dict[str, float]) -> None:
    watch = Watch()
    watch.hear(TALKER)
    watch.hear(replace(OVER_DUCKED, **part), TUNING.patience)  # type: ignore[arg-type]
    assert watch.kinds == [Suspected, Cleared]


@pytest.mark.parametrize(
    "part",
    [
        {"voice": TUNING.steady_voice - 0.01},
        {"unexplained_db": TUNING.steady_db - 0.01},
        {"left_db": TUNING.steady_left_db - 0.01},
        {"level_dbfs": TALKER.level_dbfs + TUNING.steady_drop_db},
    ],
)
def test_a_mumbling_talker_convinces_by_going_on(part: dict[str, float]) -> None:
    """What the canceller leaves whole while the loudspeaker is ducked is somebody, even if hardly a voice."""
    mumbling = replace(OVER_DUCKED, voice=TUNING.steady_voice, unexplained_db=TUNING.steady_db)
    watch = Watch()
    watch.hear(TALKER)
    watch.hear(mumbling, TUNING.patience)
    assert watch.kinds == [Suspected, Confirmed]
    assert watch.verdicts[1][0] == TUNING.settle + TUNING.sure / TUNING.steady
    watch = Watch()
    watch.hear(TALKER)
    watch.hear(replace(mumbling, **part), TUNING.patience)  # type: ignore[arg-type]
    assert watch.kinds == [Suspected, Cleared]


def test_a_ducked_echo_that_sounds_like_a_voice_is_cleared() -> None:
    watch = Watch()
    watch.hear(TALKER)
    watch.hear(GHOST, TUNING.patience)
    assert watch.kinds == [Suspected, Cleared]


def test_evidence_is_weighed_over_gaps_between_syllables() -> None:
    watch = Watch()
    watch.hear(TALKER)
    watch.hear(OVER_DUCKED, TUNING.settle + 1)
    watch.hear(QUIET, 1)
    watch.hear(OVER_DUCKED, 2)
    assert watch.kinds == [Suspected, Confirmed], "two blocks for, one against, one more for is enough"


@pytest.mark.parametrize(
    "part",
    [
        {"voice": TUNING.suspect_voice - 0.01},
        {"unexplained_db": TUNING.suspect_db - 0.01},
        {"left_db": TUNING.least_left_db},
        {"floor_dbfs": TALKER.level_dbfs - TUNING.above_floor_db},
    ],
)
def test_each_part_of_the_evidence_is_needed_for_a_suspicion(part: dict[str, float]) -> None:
    watch = Watch()
    watch.hear(replace(TALKER, **part), 100)  # type: ignore[arg-type]
    assert watch.verdicts == []


def test_while_the_far_end_is_idle_its_share_of_the_sound_does_not_matter() -> None:
    watch = Watch()
    watch.hear(replace(TALKER, left_db=-40.0, far_active=False))
    assert watch.kinds == [Suspected]


def test_untouched_sound_has_to_be_more_of_a_voice() -> None:
    bare = replace(TALKER, left_db=TUNING.bare_left_db + 1, voice=(TUNING.bare_voice + TUNING.suspect_voice) / 2)
    watch = Watch()
    watch.hear(bare, 50)
    assert watch.verdicts == []
    watch.hear(replace(bare, left_db=TUNING.bare_left_db - 1))
    assert watch.kinds == [Suspected]


def test_an_echo_that_has_moved_is_not_a_talker() -> None:
    """Far more unexplained than any talker leaves over, and the canceller takes it out all the same."""
    watch = Watch()
    watch.hear(replace(TALKER, unexplained_db=TUNING.leap_db + 0.1, left_db=TUNING.leap_left_db - 0.1), 100)
    assert watch.verdicts == []
    watch.hear(replace(TALKER, unexplained_db=TUNING.leap_db + 0.1))
    assert watch.kinds == [Suspected]


def test_a_filter_out_of_step_with_the_echo_decides_nothing() -> None:
    watch = Watch()
    watch.hear(replace(TALKER, misled=True), TUNING.patience + 1)
    assert watch.kinds == [Suspected, Cleared]


def test_a_buffer_that_jumped_under_a_loud_echo_is_not_even_suspected() -> None:
    watch = Watch()
    watch.hear(replace(TALKER, misled=True, jumped=True), 100)
    assert watch.verdicts == []


def test_the_first_milliseconds_of_the_loudspeaker_are_nobody() -> None:
    watch = Watch(replace(TUNING, begin=8))
    watch.hear(TALKER, 8)
    assert watch.verdicts == []
    watch.hear(TALKER)
    assert watch.kinds == [Suspected]


def test_after_a_ghost_a_decision_takes_more() -> None:
    def blocks_until_sure(wary: int) -> int:
        watch = Watch(replace(TUNING, wary=wary))
        watch.hear(TALKER)
        watch.hear(QUIET, TUNING.patience + TUNING.pause)
        watch.hear(TALKER)
        watch.hear(OVER_DUCKED, 40)
        assert watch.kinds == [Suspected, Cleared, Suspected, Confirmed]
        return watch.verdicts[3][0] - watch.verdicts[2][0]

    assert blocks_until_sure(1000) - blocks_until_sure(0) == (TUNING.wary_sure - TUNING.sure) / TUNING.most


def test_in_a_room_it_does_not_know_it_takes_more_to_be_suspected() -> None:
    watch = Watch(replace(TUNING, young=100))
    weak = replace(TALKER, unexplained_db=TUNING.suspect_db + TUNING.young_db - 0.1)
    watch.hear(weak, 100)
    assert watch.verdicts == []
    watch.hear(weak)
    assert watch.kinds == [Suspected]


def test_where_the_board_cancels_the_residue_is_not_asked() -> None:
    watch = Watch(replace(BY_THE_BOARD, begin=0, young=0))
    watch.hear(replace(TALKER, unexplained_db=-3.0, left_db=0.0))
    watch.hear(replace(OVER_DUCKED, left_db=0.0, unexplained_db=-3.0), 20)
    assert watch.kinds == [Suspected, Confirmed]


def test_once_sure_it_says_nothing_more_until_it_is_reset() -> None:
    watch = Watch()
    watch.hear(TALKER)
    watch.hear(OVER_DUCKED, 200)
    watch.hear(QUIET, 200)
    assert watch.kinds == [Suspected, Confirmed]
    watch.bargein.reset()
    assert not watch.bargein.sure
    watch.hear(TALKER)
    assert watch.kinds == [Suspected, Confirmed, Suspected]
    assert watch.verdicts[-1][1] == Suspected((watch.blocks - 1) * BLOCK_S)


def test_a_reset_forgets_a_suspicion_and_a_pause() -> None:
    watch = Watch()
    watch.hear(TALKER)
    watch.bargein.reset()
    watch.hear(OVER_DUCKED, 1)
    assert watch.kinds == [Suspected, Suspected]
    watch.hear(QUIET, TUNING.patience)
    watch.bargein.reset()
    watch.hear(TALKER)
    assert watch.kinds == [Suspected, Suspected, Cleared, Suspected]


LEVELS = st.floats(-96, 0)
EVIDENCE = st.one_of(
    st.sampled_from([ECHO, TALKER, OVER_DUCKED, QUIET]),
    st.builds(
        Evidence,
        st.floats(0, 1),
        LEVELS,
        LEVELS,
        st.floats(-100, 40),
        st.floats(-3, 12),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
)
TUNINGS = st.builds(
    Tuning,
    sure=st.floats(0.5, 8),
    most=st.floats(0.5, 3),
    settle=st.integers(0, 8),
    patience=st.integers(9, 80),
    pause=st.integers(0, 80),
)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.just(TUNING), st.just(BY_THE_BOARD), TUNINGS),
    st.lists(st.tuples(EVIDENCE, st.integers(1, 80), st.booleans()), max_size=20),
)
def test_verdicts_come_in_turn_whatever_is_heard(tuning: Tuning, story: list[tuple[Evidence, int, bool]]) -> None:
    """Nothing is decided that was not suspected, and nothing suspected in the pause after it was cleared."""
    watch = Watch(tuning)
    suspected: int | None = None
    cleared = -tuning.pause - 1
    seen = 0
    for evidence, blocks, resets in story:
        watch.hear(evidence, blocks)
        for at, verdict in watch.verdicts[seen:]:
            match verdict:
                case Suspected(since):
                    assert suspected is None
                    assert at > cleared + tuning.pause
                    assert 0 <= since <= at * BLOCK_S
                    suspected = at
                case Confirmed(onset_at):
                    assert suspected is not None
                    assert at - suspected >= tuning.settle + min(tuning.sure, tuning.wary_sure) / tuning.most - 1e-9
                    assert onset_at <= suspected * BLOCK_S
                    suspected = None
                case Cleared():
                    assert suspected is not None
                    assert at - suspected == tuning.patience
                    suspected, cleared = None, at
        confirmed = watch.kinds[seen:].count(Confirmed)
        assert confirmed <= 1
        assert not confirmed or watch.kinds[-1] is Confirmed, "it stops everything"
        seen = len(watch.verdicts)
        if resets:
            watch.bargein.reset()
            suspected, cleared = None, -tuning.pause - 1  # a new loudspeaker: only its begin is a pause
