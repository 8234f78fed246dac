"""The machine: its disk, its memory, its supervisor, and the process itself."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

from tests.faults.row import Act, Heals, Row, When
from tests.faults.rows.acts import hand, several, signalled
from tests.faults.scene import Scene

ITSELF, PRESS, PERSON, ENDURED, RESTART = Heals.ITSELF, Heals.PRESS, Heals.PERSON, Heals.ENDURED, Heals.RESTART
IDLE, ASKED, LISTENING, THINKING, SPEAKING = When
PHASES = (IDLE, LISTENING, THINKING, SPEAKING)
# Root may write where it may not; without these two capabilities it may not, like the service's own user.
ORDINARY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
AS_ORDINARY = ORDINARY if os.geteuid() == 0 else ()


def full_disk(at: Scene) -> None:
    """Let every write fail, as on a full disk."""
    at.marks["limit"] = resource.prlimit(at.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(at.pid, resource.RLIMIT_FSIZE, (0, at.marks["limit"][1]))


def space_again(at: Scene) -> None:
    """Let writes succeed."""
    resource.prlimit(at.pid, resource.RLIMIT_FSIZE, at.marks["limit"])


def mute_twice(at: Scene) -> None:
    """Have something to be kept."""
    at.command("mute")
    at.command("mute")


def read_only(at: Scene) -> None:
    """Let nothing be written in the state directory."""
    at.state.chmod(0o500)


def writable(at: Scene) -> None:
    """And again."""
    at.state.chmod(0o700)


def torn(name: str, content: bytes) -> Act:
    """A file as a power cut never leaves ours, but a bad card may; and a restart, to meet it."""

    def act(at: Scene) -> None:
        path = at.state / name
        at.marks[name] = path.read_bytes() if path.exists() else b""
        ready = at.supervisor.count("ready")
        at.signal(signal.SIGKILL)
        at.supervisor.until("exited", 1, 5.0)
        path.write_bytes(content)
        path.chmod(0o600)
        at.supervisor.until("ready", ready + 1, 25.0)
        at.witness.until(lambda look: look.status is not None, 5.0)

    return act


def whole_again(name: str) -> Act:
    """The file as it was, from a backup."""

    def act(at: Scene) -> None:
        (at.state / name).write_bytes(at.marks[name])

    return act


def gone(name: str) -> Act:
    """The file is deleted, as its hint says."""
    return lambda at: (at.state / name).unlink()


def broken_reload(at: Scene) -> None:
    """A typing mistake in the configuration, and a reload."""
    at.marks["config"] = at.config.read_text()
    at.config.write_text(at.marks["config"] + "\n[audio\nvolum = 3\n")
    at.signal(signal.SIGHUP)


def repaired(at: Scene) -> None:
    """The configuration as it was."""
    Path(at.config).write_text(at.marks["config"])


LOST = {LISTENING: "question", THINKING: "question", SPEAKING: "reply"}


def restarted(name: str, when: When, what: str, inject: Act) -> Row:
    """A row that a restart heals: noticed within ten seconds, healthy within twenty-five."""
    return Row(
        name,
        when,
        what,
        inject,
        RESTART,
        hears=("cue_error",) if when in LOST else (),
        loses=LOST.get(when, ""),
        restarts=1,
        lasts_s=0.0,
        within_s=25.0,
        notice_s=11.0,
    )


DISK = (
    Row(
        "disk full, enrolled",
        IDLE,
        "no byte can be written",
        several(full_disk, mute_twice),
        ENDURED,
        space_again,
        may_hear=("cue_muted",),
    ),
    Row(
        "disk full, before enrolment",
        ASKED,
        "no byte can be written, and an enrolment has to be",
        full_disk,
        PERSON,
        space_again,
        hears=("said_local_file",),
        sees=("error",),
        loses="question",
        cold=True,
    ),
    Row(
        "state directory read-only",
        IDLE,
        "nothing can be written there",
        several(read_only, mute_twice),
        ENDURED,
        writable,
        launch=AS_ORDINARY,
        may_hear=("cue_muted",),
    ),
    Row(
        "state directory read-only, before enrolment",
        ASKED,
        "an enrolment cannot be written",
        read_only,
        PERSON,
        writable,
        hears=("said_local_file",),
        sees=("error",),
        loses="question",
        cold=True,
        launch=AS_ORDINARY,
    ),
    Row(
        "settings torn",
        ASKED,
        "kept.json is half a file after a restart",
        torn("kept.json", b'{"muted":tr'),
        ENDURED,
        restarts=1,
    ),
    Row(
        "reports torn",
        ASKED,
        "reports.json is half a file after a restart",
        torn("reports.json", b"[{"),
        ENDURED,
        restarts=1,
    ),
    Row(
        "enrolment torn",
        ASKED,
        "enrolment.json is half a file after a restart",
        torn("enrolment.json", b'{"issuer":"htt'),
        PERSON,
        gone("enrolment.json"),
        hears=("said_local_file",),
        sees=("error",),
        loses="question",
        restarts=1,
    ),
    Row(
        "key torn",
        ASKED,
        "identity.jwk is half a file after a restart",
        torn("identity.jwk", b'{"kty":"E'),
        PERSON,
        whole_again("identity.jwk"),
        hears=("said_local_file",),
        sees=("error",),
        loses="question",
        restarts=1,
    ),
    Row("configuration broken at reload", IDLE, "a typing mistake, and SIGHUP", broken_reload, ENDURED, repaired),
    Row("log gone", LISTENING, "nobody reads our log any more", lambda at: at.deafen_log(), ENDURED),
    Row(
        "journald gone",
        IDLE,
        "stderr is the journal, and no journald answers",
        lambda _: None,
        ENDURED,
        environment={"FAULT_JOURNAL": "1"},
    ),
    Row(
        "notify socket unread",
        IDLE,
        "the supervisor takes no datagram for 5 s",
        lambda at: at.supervisor.pause(5.0),
        ENDURED,
        lasts_s=5.0,
    ),
)

PROCESS = (
    Row("event loop blocked 2 s", IDLE, "a callback sleeps for 2 s", hand("block the loop", 2.0), ENDURED),
    restarted("event loop blocked 30 s", IDLE, "a callback sleeps for 30 s", hand("block the loop", 30.0)),
    restarted(
        "event loop blocked 30 s, speaking",
        SPEAKING,
        "a callback sleeps for 30 s",
        hand("block the loop", 30.0),
    ),
    restarted(
        "audio thread blocked 30 s",
        IDLE,
        "the audio thread sleeps for 30 s",
        hand("block the audio thread", 30.0),
    ),
    restarted("audio thread dead", IDLE, "a bug ends the audio thread", hand("kill the audio thread")),
    restarted("audio thread dead, listening", LISTENING, "a bug ends the audio thread", hand("kill the audio thread")),
    restarted("bug in a callback", THINKING, "a callback of the loop raises", hand("fail in a callback")),
    restarted("bug in a task", SPEAKING, "a task raises", hand("fail in a task")),
    Row("threads of the pool all busy", IDLE, "64 sleepers for 5 s", hand("occupy the pool", 5.0), ENDURED),
    restarted(
        "a link that nobody works at", IDLE, "the session's task is gone, the state says up", hand("forget the link")
    ),
    restarted("memory", IDLE, "a leak passes MemoryMax", hand("hoard memory", 300.0)),
    *(restarted(f"SIGKILL, {when.value}", when, "the process is killed", signalled(signal.SIGKILL)) for when in PHASES),
    *(
        restarted(f"SIGTERM, {when.value}", when, "the process is asked to end", signalled(signal.SIGTERM))
        for when in PHASES
    ),
    restarted("SIGSTOP", IDLE, "the whole process stands still", signalled(signal.SIGSTOP)),
    Row(
        "SIGHUP, speaking",
        SPEAKING,
        "a new configuration is taken into use when idle",
        signalled(signal.SIGHUP),
        ITSELF,
        restarts=1,
        within_s=20.0,
    ),
)
ROWS: tuple[Row, ...] = (*DISK, *PROCESS)
