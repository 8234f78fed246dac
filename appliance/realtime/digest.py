"""What a new session is told of the older part of a conversation: its lines, shortened.

Responsible for: shortening. Extracts, no model: it must be there in the moment in which a session was lost. Not for:
what belongs to it (``history``).
"""

from __future__ import annotations

from collections.abc import Iterable

LINE_CHARACTERS = 120
CHARACTERS = 2_400  # some 600 tokens, billed with every turn
INTRODUCTION = "Earlier in this conversation, shortened:"
GAP = "(…)"


def digest(lines: Iterable[str]) -> str:
    """Shorten a conversation, oldest line first, to a text of bounded length; "" for none.

    How it began and what came last is kept, where not all fits: the middle goes.
    """
    short = [_shorten(line) for line in lines if line]
    if not short:
        return ""
    first = _fitting(short, CHARACTERS // 4)
    if len(first) < len(short):
        rest = short[len(first) :]
        last = _fitting(rest[::-1], CHARACTERS - sum(map(len, first)))[::-1]
        short = [*first, *([GAP] if len(last) < len(rest) else []), *last]
    return "\n".join([INTRODUCTION, *short])


def _fitting(lines: list[str], characters: int) -> list[str]:
    fitting: list[str] = []
    for line in lines:
        characters -= len(line) + 1
        if characters < 0:
            break
        fitting.append(line)
    return fitting


def _shorten(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= LINE_CHARACTERS else f"{line[: LINE_CHARACTERS - 1].rstrip()}…"
