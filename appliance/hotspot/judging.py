"""What was entered on the set-up page, judged as if it stood in ``voice.toml``, and then promised as one change.

Responsible for: that translation, in words for the page. Not for: the settings themselves (``first_boot``).
"""

from __future__ import annotations

from collections.abc import Mapping

from appliance.errors import ApplianceError
from appliance.first_boot import changes, record, toml, wishes
from appliance.first_boot.places import Places
from appliance.first_boot.record import Record
from appliance.first_boot.text import FILE, LONGEST, Text

_NAMES = (
    ("wifi.name", "Your Wi-Fi"), ("wifi.password", "The password"), ("country", "Country"),
    ("provisioning.url", "Address"), ("provisioning.enrolment_token", "Enrolment token"),
)  # fmt: skip


def judge(fields: Mapping[str, str], places: Places) -> Record:
    """Judge a form; returns what is to be promised.

    Raises:
        ApplianceError: it cannot be so; the text is for people, without a secret.
    """
    if not fields.get("wifi"):
        raise ApplianceError("Your Wi-Fi: enter its name.")
    network: dict[str, object] = {"name": fields.get("wifi", ""), "password": fields.get("password", "")}
    if fields.get("hidden"):
        network["hidden"] = True
    service = {"url": fields.get("url", "").strip(), "enrolment_token": fields.get("token", "").strip()}
    text = toml.write({"country": fields.get("country", ""), "wifi": network, "provisioning": service})
    if len(text) > LONGEST:
        raise ApplianceError("That is too long.")
    try:
        wished = wishes.read(Text(text), places)
        planned = changes.plan(wished, places, keep_networks=True)
        before = record.load(places)
        promised = Record(changes=tuple(planned), taken=before.taken, erase=before.erase)
        record.check(places, promised)
    except OSError as error:
        raise ApplianceError(f"The settings cannot be stored ({error.strerror}).") from error
    except ApplianceError as error:
        raise ApplianceError(in_words(str(error))) from None
    return promised


def in_words(problem: str) -> str:
    """Word a problem with the names that stand on the page."""
    words = problem.removeprefix(f"{FILE}: ")
    for key, name in _NAMES:
        words = words.replace(key, name)
    return words[:1].upper() + words[1:]
