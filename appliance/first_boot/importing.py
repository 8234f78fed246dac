"""Takes the settings on the card over, before the network and the appliance start: all of them, or none.

Responsible for: the order of the steps, so that a power cut between any two of them is made good at the next start. Not
for: the steps.

1. What an earlier import promised and did not finish is done.
2. The file is read and checked; nothing was changed so far.
3. The record promises the changes (one file, written whole): from here on they happen.
4. The changes are carried out. 5. The secrets are erased on the card. 6. The record says so.
7. With the settings that there are now: does the board need other lines for the firmware (``lines``)?
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from appliance.errors import ApplianceError, ConfigError, StateError
from appliance.first_boot import changes, erasing, lines, outcome, record, wishes
from appliance.first_boot import places as files
from appliance.first_boot import text as texts
from appliance.first_boot.outcome import Outcome
from appliance.first_boot.places import Places
from appliance.first_boot.record import Record, Taken
from appliance.first_boot.wishes import Wishes
from appliance.logs import one_line, without_secrets

log = logging.getLogger(__name__)
Came = Literal["none", "unchanged", "taken", "refused", "out_of_reach"]
UNMOUNTED = (
    "the card's first partition, where voice.toml is, did not come in time; "
    "switch the machine off and on again, and try another card if it comes back"
)
Regulate = Callable[[str], None]


def find(places: Places) -> Path | None:
    """Find the settings file on the card. Of two, one that says nothing, as it came with the card, does not count."""
    found = files.found(places)
    return next((path for path in found if not _is_blank(path, places)), found[0] if found else None)


def take(path: Path | None, places: Places, regulate: Regulate = lambda _: None) -> Outcome:
    """Take ``path`` over (``None``: there is none), give the machine its name and country, and leave word of it.

    Never raises for what people write or cards do: whatever is wrong is in the outcome.
    """
    settings: Came
    try:
        settings, problem = _take(path, places), ""
    except ApplianceError as error:
        settings, problem = "refused", without_secrets(one_line(str(error)))
        log.error("the settings are refused: %s", problem)
    if path is not None:
        erasing.note(path, problem)
    elif settings == "none" and files.is_unmounted(places):
        settings, problem = "out_of_reach", UNMOUNTED
        log.error("%s", problem)
    known = any(_is_wifi(file) for file in places.connections.glob("*")) if places.connections.is_dir() else False
    if settings == "unchanged" and places.restarted.exists():
        settings = "taken"  # at the start before, which nobody heard anything of
    found = Outcome(
        id=secrets.token_hex(8),
        settings=settings,
        problem=problem,
        wifi_known=known,
        page=places.has_page,
        lines=lines.look(places),
    )
    _name_machine(places)
    if country := _first_line(places.config / "country"):
        regulate(country)
    leave_word(places, found)
    return found


def _take(path: Path | None, places: Places) -> Came:
    before = record.carry_out(places, record.load(places))
    if path is None:
        return "none"
    data = _read(path)
    if before.erase and (erasing.digest(data) == before.taken.whole or erasing.is_half_erased(data, before.taken)):
        _erase(path, data, before, places)
        return "taken"
    _refuse_another(path, places)
    if erasing.digest(data) == before.taken.erased:
        return "unchanged"
    text = texts.decode(data)
    wished = wishes.read(text, places)
    try:
        planned = tuple(changes.plan(wished, places))
    except OSError as error:
        raise StateError(f"cannot read the settings there are ({error})", hint="check the card") from error
    promised = Record(changes=planned, taken=erasing.knowing(text), erase=True)
    record.check(places, promised)
    record.save(places, promised)
    done = record.carry_out(places, promised)
    _erase(path, data, done, places)
    log.info(
        "the settings of %s are taken over: %s", path, ", ".join(change.path for change in planned) or "nothing new"
    )
    return "taken"


def _refuse_another(path: Path, places: Places) -> None:
    """Of two files nobody can tell which one is meant; and the secrets of the other one would stay on the card."""
    there = files.found(places)
    if path in there and sum(not _is_blank(one, places) for one in there) > 1:
        names = " and ".join(one.name for one in there)
        raise ConfigError(f"{names} are both on the card", hint="delete the one that you do not mean")


def _is_blank(path: Path, places: Places) -> bool:
    try:
        return wishes.read(texts.decode(_read(path)), places) == Wishes()
    except ConfigError:
        return False


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(texts.LONGEST + 1)
    except OSError as error:
        raise ConfigError(f"{texts.FILE}: cannot be read ({error.strerror})", hint="is the card damaged?") from error


def _erase(path: Path, data: bytes, done: Record, places: Places) -> None:
    """Erase, and say so in the record. A card that cannot be written is no reason to do without its settings."""
    try:
        after = erasing.erase(path, data, done.taken)
    except StateError as error:
        log.error("%s", error)
        return
    record.save(places, Record(taken=Taken(erased=erasing.digest(after))))  # no trace of what was erased


def _is_wifi(file: Path) -> bool:
    try:
        return any(
            line.strip() in ("type=wifi", "type=802-11-wireless") for line in file.read_text("utf-8").splitlines()
        )
    except (OSError, ValueError):
        return False


def _first_line(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip().partition("\n")[0]
    except (OSError, ValueError):
        return ""


def _name_machine(places: Places) -> None:
    """Give the kernel the name at once: systemd read the file before the partition that holds it was there."""
    name = _first_line(places.kept("etc/hostname"))
    try:
        if name and _first_line(places.kernel_hostname) != name:
            places.kernel_hostname.write_text(name)
    except OSError as error:
        log.warning("the machine keeps its old name: %s", error.strerror)


def leave_word(places: Places, found: Outcome) -> None:
    """Leave word for the appliance."""
    path = places.run / outcome.FILE_NAME
    try:
        files.make_folder(path.parent, 0o755)
        files.replace(path, msgspec.json.encode(found), 0o644)
    except OSError as error:
        log.warning("cannot write %s: %s", path, error.strerror)
