"""Log lines: one each, in the journal or on standard error, and never a secret."""

from __future__ import annotations

import logging
import os
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import logs

ROOT = Path(__file__).resolve().parents[1]
TOKEN = st.text(string.ascii_letters + string.digits + "_-.", min_size=8, max_size=60)
PREFIX = st.sampled_from(["ek_", "vdt_", "vet_", "sk-", "sk_", "sk-proj-"])
AROUND = st.sampled_from(["", " ", "=", '"', "'", ":", "/", "%3D", "_", "Bearer ", "\n", "my_", "7", "(", "ü "])


def record(text: str, *arguments: object, name: str = "appliance.x", exc: BaseException | None = None) -> str:
    info = (type(exc), exc, exc.__traceback__) if exc is not None else None
    made = logging.LogRecord(name, logging.WARNING, "f.py", 1, text, arguments, info)
    return logs.OneLine().format(made)


def raised(error: Exception) -> Exception:
    """Give an exception its traceback."""
    with pytest.raises(type(error)):
        raise error
    return error


@given(before=AROUND, prefix=PREFIX, token=TOKEN)
def test_no_token_passes_whatever_stands_before_it(before: str, prefix: str, token: str) -> None:
    assert token not in record("got %s end", before + prefix + token)
    assert token not in record("failed", exc=raised(ValueError(before + prefix + token)))


@given(st.text(max_size=60))
def test_any_text_is_one_printable_line(text: str) -> None:
    line = record("%s", text)
    assert len(line.splitlines()) == 1
    assert line.isprintable()


@pytest.mark.parametrize(
    "text", ["risk-free_and_task_1234 are words", "disk_full", "desk-lamp", "asked: x", "weeks_ago_1234"]
)
def test_words_are_left_alone(text: str) -> None:
    assert record(text) == f"x: {text}"


def test_the_prefix_stays_so_that_one_sees_what_it_was() -> None:
    assert record("token vdt_abcdefghij.") == "x: token vdt_…"


def test_an_exception_is_told_in_the_same_line() -> None:
    line = record("it failed", exc=raised(RuntimeError("first\nsecond")))
    assert line.startswith("x: it failed | Traceback")
    assert line.endswith("RuntimeError: first | second")
    assert len(line.splitlines()) == 1


def test_the_terminal_shows_the_level() -> None:
    made = logging.LogRecord("appliance.x", logging.ERROR, "f.py", 1, "a", (), None)
    assert logs.Terminal().format(made) == "error   x: a"


# --- where the lines go ---


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    root, ours = logging.root, logging.getLogger("appliance")
    kept = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], ours.level = kept[0], kept[2]
    root.setLevel(kept[1])


@pytest.mark.usefixtures("untouched_logging")
@pytest.mark.parametrize(("debug", "quiet", "level"), [(False, False, 20), (True, True, 10), (False, True, 30)])
def test_levels(debug: bool, quiet: bool, level: int) -> None:
    logs.set_up(debug=debug, quiet=quiet)
    assert logging.getLogger("appliance.anything").getEffectiveLevel() == level
    assert logging.getLogger("websockets.client").getEffectiveLevel() == logging.WARNING
    assert len(logging.root.handlers) == 1


@pytest.mark.usefixtures("untouched_logging")
def test_an_inherited_journal_stream_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A desktop's terminal inherits the variable from the service that started it."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    logs.set_up(debug=False)
    assert not isinstance(logging.root.handlers[0], logs.Journal)


@pytest.mark.usefixtures("untouched_logging")
def test_the_journal_is_used_when_standard_error_is_its_stream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        seen = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{seen.st_dev}:{seen.st_ino}")
        monkeypatch.setattr(sys, "stderr", stream)
        logs.set_up(debug=False)
    assert isinstance(logging.root.handlers[0], logs.Journal)


@pytest.mark.usefixtures("untouched_logging")
def test_standard_error_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    logs.set_up(debug=False)
    logging.getLogger("appliance").warning("nobody hears")


def test_a_journal_that_refuses_does_not_take_us_along(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from systemd import journal

    def refuse(*_: object, **__: object) -> None:
        raise OSError(105, "No buffer space available")

    monkeypatch.setattr(journal, "send", refuse)
    handler = logs.Journal()
    handler.setFormatter(logs.OneLine())
    handler.handle(logging.LogRecord("appliance.x", logging.INFO, "f.py", 1, "a", (), None))
    assert "No buffer space" in capsys.readouterr().err


def test_the_journal_gets_priority_and_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    from systemd import journal

    sent: list[dict[str, object]] = []
    monkeypatch.setattr(journal, "send", lambda message, **fields: sent.append({"MESSAGE": message, **fields}))
    handler = logs.Journal()
    handler.setFormatter(logs.OneLine())
    handler.handle(logging.LogRecord("appliance.x", logging.ERROR, "f.py", 1, "ek_abcdefgh", (), None))
    assert sent == [
        {"MESSAGE": "x: ek_…", "PRIORITY": "3", "SYSLOG_IDENTIFIER": "voice-appliance", "LOGGER": "appliance.x"}
    ]


def test_lines_of_libraries_are_held_to_the_same_rules() -> None:
    program = """
import logging
from appliance import logs
logs.set_up(debug=False)
try:
    raise ValueError("sk-proj-abcdefghijk")
except ValueError:
    logging.getLogger("websockets.client").exception("two\\nlines")
logging.getLogger("websockets.client").info("hidden")
logging.getLogger("appliance.engine").info("shown")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    library, ours = done.stderr.splitlines()
    assert library.startswith("error   websockets.client: two | lines | Traceback")
    assert "abcdefghijk" not in library
    assert ours == "info    engine: shown"
