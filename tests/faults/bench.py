"""Makes one row happen and looks at what comes of it.

Responsible for: the order of things (the fault, its first sign, its end, the first exchange that works), and saying
what is not as the row promises. Not for: the rows, or printing them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.row import Heals, Outcome, Row, When, nothing
from tests.faults.scene import LONG_S, Scene
from tests.faults.town import Town
from tests.faults.witness import Look, reply_s

QUESTION = (When.ASKED, When.LISTENING, When.THINKING)
WARNING = ("warning", "error", "critical")
SETTLE_S = 0.3
CALM = ("idle", "muted")
UNREST = ("offline", "error", "deaf", "enrolling", "off")


def run(row: Row, town: Town, directory: Path, *, quick: bool) -> Outcome:
    """Let one fault happen to one appliance."""
    town.fair()
    with Scene(row, town, directory, quick=quick) as at:
        return Story(row, at).told()


class Story:
    """One row, from its beginning to its end."""

    def __init__(self, row: Row, at: Scene) -> None:
        self.row, self.at = row, at
        self.outcome = Outcome(row)
        lasts_s = row.quick_lasts_s if at.quick and row.quick_lasts_s is not None else row.lasts_s
        self.lasts_s = lasts_s
        self.answered_at: float | None = None  # when the question under the fault got its answer

    def told(self) -> Outcome:
        """Tell it."""
        row, at, outcome = self.row, self.at, self.outcome
        if not row.cold:
            at.expect(at.exchange() or at.exchange(), "first exchange")
        self.before = at.status.told()
        at.bring_to(row.when)
        self.frame, self.fault_at = at.card.now(), time.monotonic()
        self.reply_before_s = reply_s(at.card, max(0, self.frame - at.card.rate), self.frame)
        if row.from_start:
            self.frame, self.fault_at, self.before = 0, at.started_at, {}
        row.inject(at)
        self._endure()
        self.cure_at, self.cure_frame = time.monotonic(), at.card.now()
        row.cure(at)
        self._finish()
        self._heal()
        self._look()
        return outcome

    # --- while it lasts ---

    def _endure(self) -> None:
        row, at = self.row, self.at
        until = self.fault_at + self.lasts_s
        if row.when is When.ASKED:
            at.ask()
        if row.heals is Heals.ENDURED and row.when in (When.IDLE, When.ASKED):
            self._works_under_it()
        while time.monotonic() < until or not self._told_enough():
            if time.monotonic() > max(until, self.fault_at + row.notice_s):
                break
            time.sleep(0.02)

    def _works_under_it(self) -> None:
        patience_s = self.row.within_s
        idle = self.row.when is When.IDLE
        begun = self.at.exchange(patience_s) if idle else self.at.heard_reply(self.frame, patience_s)
        if begun is None:
            self.outcome.complaints.append("no exchange works while it lasts")

    def _told_enough(self) -> bool:
        """Whether everything was told that is told while the fault lasts; a fault of a moment is not waited for."""
        if self.row.cure is nothing and self.row.heals is not Heals.PERSON:
            return True
        found = set(self._heard())
        told = all(any(name in found for name in wanted.split("|")) for wanted in self.row.hears)
        return told and (not self.row.sees or any(word in self.row.sees for word in self._seen()))

    # --- after it ---

    def _finish(self) -> None:
        """Let what was going on come to its end: the question its answer, the reply its silence."""
        row, at, outcome = self.row, self.at, self.outcome
        if row.when is When.LISTENING:
            time.sleep(SETTLE_S)
            at.release()
        if row.when in QUESTION:
            self.answered_at = self._await_answer()
            outcome.answered = int(self.answered_at is not None)
            outcome.lost = "" if outcome.answered else "question"
        elif row.when is When.SPEAKING:
            self._await_rest()
            heard_s = self.reply_before_s + reply_s(at.card, self.frame, at.card.now())
            outcome.answered = int(heard_s > LONG_S - 0.2)
            outcome.lost = "" if outcome.answered else f"{max(0.0, LONG_S - heard_s):.1f} s of the reply"

    def _await_answer(self) -> float | None:
        at, deadline = self.at, time.monotonic() + self.row.within_s
        begun = at.heard_reply(self.frame, max(0.5, deadline - time.monotonic()))
        if begun is not None:
            at.until_phase("idle", timeout_s=3.0)
        return begun

    def _await_rest(self) -> None:
        self.at.witness.until(lambda look: look.get("phase") in ("idle", "fault"), self.row.within_s)

    def _heal(self) -> None:
        """Have an exchange work again, and note when it did."""
        row, at, outcome = self.row, self.at, self.outcome
        ready_at = self.cure_at
        if row.heals is Heals.RESTART:
            ready_at = at.supervisor.until("ready", row.restarts + 1, row.within_s + 15).at
            at.witness.until(lambda look: look.get("phase") == "idle", row.within_s, since=ready_at)
        if row.heals is Heals.ITSELF:
            calm = at.witness.until(_calm, row.within_s, since=self.cure_at)
            ready_at = max(self.cure_at, calm.at) if calm else ready_at
            at.witness.until(_calm, row.within_s)
            if calm is None:
                outcome.complaints.append(f"it does not come to rest by itself: {at.status.get('led')}")
        pressed_at = time.monotonic()
        begun, deadline = None, pressed_at + row.within_s
        while begun is None and (outcome.presses == 0 or time.monotonic() < deadline):
            outcome.presses += 1
            begun = at.exchange()
        if begun is None:
            outcome.complaints.append("no exchange works after it")
        elif row.heals is Heals.ENDURED:
            outcome.healed_s = 0.0
        elif self.answered_at is not None:
            outcome.healed_s = max(0.0, self.answered_at - self.cure_at)
        else:
            outcome.healed_s = (ready_at - self.cure_at) + (begun - pressed_at)
        if begun is not None and outcome.presses > row.presses:
            outcome.complaints.append(f"it took {outcome.presses} presses")

    # --- what came of it ---

    def _looks(self) -> list[Look]:
        return self.at.witness.since(self.fault_at)

    def _heard(self) -> tuple[str, ...]:
        """Telling counters that rose since the fault, in the order in which they did."""
        known, found = dict(self.before), list[str]()
        for look in self._looks():
            told = look.told()
            for name, count in told.items():
                if look.status is not None and count > known.get(name, 0) and name not in found:
                    found.append(name)
            if look.status is not None:
                known = told
        return tuple(found)

    def _seen(self) -> tuple[str, ...]:
        """Words of the light that mean trouble, shown since the fault."""
        words = [
            str(look.get("led")) for look in self._looks() if look.get("led") in UNREST or look.get("led") == "off"
        ]
        return tuple(dict.fromkeys(words))

    def _look(self) -> None:
        """Lay what was seen and heard beside what the row promises."""
        row, at, outcome = self.row, self.at, self.outcome
        outcome.heard, outcome.seen = self._heard(), self._seen()
        outcome.restarts = at.supervisor.count("ready") - 1
        outcome.doubled = self._doubled()
        self._first_sign()
        complaints = [*self._telling(), *self._losing()]
        if outcome.restarts != row.restarts:
            complaints.append(f"{outcome.restarts} restarts, not {row.restarts}")
        if outcome.noticed_s is not None and outcome.noticed_s > row.notice_s:
            complaints.append(f"noticed after {outcome.noticed_s:.1f} s")
        outcome.complaints += complaints

    def _telling(self) -> Iterator[str]:
        """Whether the person was told what the row promises, and nothing else."""
        row, outcome = self.row, self.outcome
        for wanted in row.hears:
            if not any(name in outcome.heard for name in wanted.split("|")):
                yield f"{wanted} was not heard, but {', '.join(outcome.heard) or 'nothing'}"
        if row.sees and not any(word in outcome.seen for word in row.sees):
            yield f"{' or '.join(row.sees)} was not seen, but {', '.join(outcome.seen) or 'nothing'}"
        if not row.hears and set(outcome.heard) - set(row.may_hear):
            yield f"{', '.join(outcome.heard)} was heard, for nothing"
        if row.hears and not row.dumb and not self._sound_of_telling():
            yield "the loudspeaker said nothing"

    def _losing(self) -> Iterator[str]:
        """Whether no more was lost than the row allows, and that not without a word."""
        row, outcome = self.row, self.outcome
        if outcome.lost and (not row.loses or row.loses not in outcome.lost):
            yield f"lost: {outcome.lost}"
        if outcome.lost and not outcome.owned_up and not row.plain:
            yield f"lost without a word: {outcome.lost}"
        if outcome.doubled:
            yield f"{outcome.doubled} items doubled"

    def _sound_of_telling(self) -> bool:
        """Whether the card's own record has a sound in the second and a half after something was told."""
        at = self.at
        for look in self._looks()[1:]:
            if set(look.told()) - set(self.before) or any(
                count > self.before.get(name, 0) for name, count in look.told().items()
            ):
                begin = max(self.frame, at.card.now() - int((time.monotonic() - look.at) * at.card.rate))
                return at.sounded(min(begin, at.card.now()))
        return False

    def _doubled(self) -> int:
        """Items that one session got twice: an id again, or more turns than there were questions."""
        made, turns = Counter[tuple[int, str]](), Counter[int]()
        for heard in self.at.server.heard:
            match heard.event:
                case {"type": "conversation.item.create", "item": {"id": str(item_id)}}:
                    made[heard.connection, item_id] += 1
                case {"type": "input_audio_buffer.commit"}:
                    turns[heard.connection] += 1
        again = sum(count - 1 for count in made.values())
        return again + sum(max(0, count - self.at.presses) for count in turns.values())

    def _first_sign(self) -> None:
        """Find what told first of the fault, to whomever: light, sound, status, log or supervisor."""
        signs = [
            *self._signs_of_status(),
            *((at, "log") for at, line in self.at.lines if line.split(" ", 1)[0] in WARNING),
            *((entry.at, entry.what) for entry in self.at.supervisor.diary if entry.what in ("watchdog", "memory")),
            *((entry.at, "exit") for entry in self.at.supervisor.diary if entry.what == "exited"),
        ]
        signs = sorted(sign for sign in signs if sign[0] >= self.fault_at)
        if signs:
            self.outcome.noticed_s, self.outcome.sign = signs[0][0] - self.fault_at, signs[0][1]

    def _signs_of_status(self) -> list[tuple[float, str]]:
        found, known = list[tuple[float, str]](), self._looks()[0]
        for look in self._looks()[1:]:
            if look.status is None:
                found.append((look.at, "silence"))
            elif look.get("led") in UNREST and look.get("led") != known.get("led"):
                found.append((look.at, "light"))
            elif sum(look.told().values()) > sum(known.told().values()):
                found.append((look.at, "sound"))
            elif (known.get("link") == "up" and look.get("link") != "up") or (
                look.get("last_error") and look.get("last_error") != known.get("last_error")
            ):
                found.append((look.at, "status"))
            known = look
        return found


def _calm(look: Look) -> bool:
    return look.get("phase") == "idle" and look.get("led") in CALM
