"""What a fault is and what became of it: the columns of the table.

Responsible for: the form of a row, and the verdict on an outcome. Not for: the rows (``rows``), or making them happen
(``bench``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.scene import Scene

Act = Callable[["Scene"], object]


class When(Enum):
    """What the appliance is doing when the fault comes."""

    IDLE = "idle"
    ASKED = "asked"  # idle, and somebody asks while the fault is there
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"


class Heals(Enum):
    """Who heals it."""

    ENDURED = "nobody need"  # it works while the fault is there
    ITSELF = "itself"
    PRESS = "the next press"
    RESTART = "a restart"
    PERSON = "a person"  # who acts: tops up, approves, plugs in, and then presses


def nothing(_: Scene) -> None:
    """Take nothing away: the fault was a moment."""


@dataclass(frozen=True)
class Row:
    """A fault: how it comes, what the person is to hear and see, who heals it, what it may cost.

    ``hears`` are counters that must rise because of it (`a|b`: either), ``sees`` the words of the light of which one
    must be shown; without any, none of the telling ones may. ``loses`` is what may be lost: nothing, the ``question``
    (then it is owned up to), the rest of the ``reply``, or what was ``said`` so far.
    """

    name: str
    when: When
    what: str
    inject: Act
    heals: Heals
    cure: Act = nothing
    hears: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    loses: str = ""
    lasts_s: float = 0.3
    quick_lasts_s: float | None = None
    within_s: float = 15.0  # of the cure it must work
    notice_s: float = 10.0  # within which the first sign must come
    settings: str = ""
    quick_settings: str = ""  # shorter patience, for the short form
    profile: str = "default"
    board: str = "virtual"
    cold: bool = False  # there was no session before
    launch: tuple[str, ...] = ()  # what stands before the command
    environment: dict[str, str] = field(default_factory=dict)
    presses: int = 1  # that may be needed afterwards
    may_hear: tuple[str, ...] = ()  # what may be told as well: for another reason, or if it lasts long enough
    from_start: bool = False  # the fault was there before the appliance
    plain: bool = False  # what is lost is heard to be lost: nobody need say so
    dumb: bool = False  # the loudspeaker cannot tell: the light has to
    restarts: int = 0


@dataclass
class Outcome:
    """What was measured. Times in seconds; None where there was nothing to measure."""

    row: Row
    noticed_s: float | None = None
    sign: str = ""
    healed_s: float | None = None
    heard: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    lost: str = ""
    answered: int = 0  # questions under the fault that got their whole reply
    doubled: int = 0
    presses: int = 0
    restarts: int = 0
    complaints: list[str] = field(default_factory=list)  # what is not as the row says

    @property
    def owned_up(self) -> bool:
        """Whether the person was told of it, in sound or light."""
        return bool(self.heard or self.seen)

    @property
    def verdict(self) -> str:
        """``silent`` is a failure of ours."""
        if self.complaints:
            return "silent"
        return "owned up" if self.row.heals is Heals.PERSON else "healed"
