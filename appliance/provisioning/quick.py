"""Short transactions: SQLAlchemy words each statement once, and the driver itself runs it.

To run a statement through SQLAlchemy takes ten times as long as the statement. Functions that take a `Transaction` do
not notice: this one has the ``execute`` that they need, and of its result what they use.
Responsible for: wording, values and rows. Not for: connections and what a power cut may undo (``sqlite``,
``postgresql``).
"""

from __future__ import annotations

import enum
import weakref
from collections import namedtuple
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from sqlalchemy import JSON, Delete, Dialect, Insert, Select, Update
from sqlalchemy.ext.asyncio import AsyncConnection

Statement = Select[Any] | Insert | Update | Delete
Values = Mapping[str, Any]


class Wanted(enum.Enum):
    """What of a statement's result has to be waited for: UPDATE and DELETE without RETURNING bring nothing."""

    ROWS = enum.auto()
    COUNT = enum.auto()
    NOTHING = enum.auto()


Run = Callable[[str, Values, Wanted], Awaitable[tuple[Sequence[Sequence[Any]], int]]]  # returns rows and their count


class Result:
    """What a statement came to; ``rowcount`` only of an INSERT."""

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def all(self) -> list[Any]:
        """Every row."""
        return self._rows

    def one_or_none(self) -> Any:
        """The row, if there is one."""
        assert len(self._rows) <= 1
        return self._rows[0] if self._rows else None


class QuickTransaction:
    """One transaction, over a driver's connection."""

    def __init__(self, dialect: Dialect, run: Run) -> None:
        self.dialect = dialect
        self._run = run

    async def execute(self, statement: Statement, values: Values | None = None) -> Result:
        """Runs a statement, which always gets values of the same names."""
        worded = _WORDED.get(statement)
        if worded is None or worded.dialect is not self.dialect:
            worded = _WORDED[statement] = _Worded(statement, values or {}, self.dialect)
        rows, count = await self._run(worded.sql, worded.values(values), worded.wanted)
        return Result([worded.row(*row) for row in rows], count)


Transaction = AsyncConnection | QuickTransaction


class Quick(Protocol):
    """Where quick transactions are begun."""

    def begin(self) -> AbstractAsyncContextManager[QuickTransaction]:
        """A transaction, which is committed at the end of the block, or undone if that ends with an exception."""

    async def close(self) -> None:
        """Lets go of what it holds."""


class _Worded:
    """A statement as a driver takes it; lists for IN cannot be in it, their length is not known here."""

    def __init__(self, statement: Statement, values: Values, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(values) or None)
        columns = statement.exported_columns
        assert not any(isinstance(column.type, JSON) for column in columns), "a value that had to be converted"
        self.dialect = dialect
        self.sql = str(compiled)
        self.row: Any = namedtuple("row", [str(column.key) for column in columns])  # type: ignore[misc]  # noqa: PYI024
        self.wanted = Wanted.NOTHING
        if columns:
            self.wanted = Wanted.ROWS
        elif isinstance(statement, Insert):
            self.wanted = Wanted.COUNT
        self._fixed = dict(compiled.params)  # what the statement itself says
        self._converted: dict[str, Any] = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect)
            for name, bind in compiled.binds.items()
            if isinstance(bind.type, JSON)
        }

    def values(self, given: Values | None) -> Values:
        values = {**self._fixed, **(given or {})}
        for name, convert in self._converted.items():
            values[name] = convert(values[name])
        return values


# Weakly: a statement that was made for one request goes with it.
_WORDED: weakref.WeakKeyDictionary[Statement, _Worded] = weakref.WeakKeyDictionary()
