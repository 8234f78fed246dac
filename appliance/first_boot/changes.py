"""What a checked settings file changes on this machine: a list of files, each as it is to be afterwards.

Responsible for: joining what is wished with what there is. Not for: writing any of it (``record``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from msgspec import Struct

from appliance import config
from appliance.errors import ConfigError
from appliance.first_boot import networks, toml
from appliance.first_boot.places import Places
from appliance.first_boot.spans import is_erased
from appliance.first_boot.text import FILE
from appliance.first_boot.wishes import WHERE, Wifi, Wishes

HEADER = "# Written from voice.toml. What is changed here stays, until voice.toml names the same key.\n"
HIGHEST_PRIORITY = 90  # of the first Wi-Fi of the list; NetworkManager knows up to 999


class Change(Struct, frozen=True):
    """A file below the root as it is to be: with a text, a link to somewhere, or gone (neither)."""

    path: str
    text: str | None = None
    link: str | None = None
    mode: int = 0o644


def plan(wishes: Wishes, places: Places, *, keep_networks: bool = False) -> list[Change]:
    """List what is to be changed. The Wi-Fis of a file replace those of earlier ones, or join them (``keep_networks``).

    Raises:
        ConfigError: with what is there already it makes no usable configuration, or lacks a secret that was erased.
        OSError: what is there cannot be read.
    """
    changes = [*_settings(wishes, places), *_wifi(wishes.wifi, places, keep_networks=keep_networks)]

    def add(path: str, text: str, mode: int = 0o644) -> None:
        changes.append(Change(_inside(path, places), text=text, mode=mode))

    if wishes.enrolment_token and not is_erased(wishes.enrolment_token):
        add("etc/voice-appliance/enrolment-token", f"{wishes.enrolment_token}\n", 0o600)
    if wishes.host_name:
        add("etc/hostname", f"{wishes.host_name}\n")
    if wishes.country:
        add("etc/voice-appliance/country", f"{wishes.country}\n")
    if wishes.ssh_keys:
        add("etc/voice-appliance/authorized_keys", "".join(f"{key}\n" for key in wishes.ssh_keys))
    if wishes.time_zone:
        target = f"/usr/share/zoneinfo/{wishes.time_zone}"
        changes.append(Change(_inside("etc/localtime", places), link=target))
    return changes


def _inside(path: str, places: Places) -> str:
    return str(places.kept(path).relative_to(places.root))


def _settings(wishes: Wishes, places: Places) -> list[Change]:
    if not wishes.settings:
        return []
    path = places.config / "appliance.toml"
    before = path.read_text("utf-8-sig") if path.exists() else ""
    now: dict[str, object] = {}
    with contextlib.suppress(ConfigError):  # nothing can start with one that is broken: the new one stands alone
        now = config.read_toml(path)
    for key, value in wishes.settings.items():
        old = now.get(key)
        now[key] = {**old, **value} if isinstance(value, dict) and isinstance(old, dict) else value
    config.judge(now, WHERE)
    after = HEADER + toml.write(now)
    if after == before:
        return []
    name = "etc/voice-appliance/appliance.toml"
    kept = [Change(f"{name}.before", text=before)] if before and not before.startswith(HEADER) else []
    return [*kept, Change(name, text=after)]


def _wifi(wished: Sequence[Wifi], places: Places, *, keep_networks: bool) -> list[Change]:
    if not wished:
        return []
    folder = "etc/NetworkManager/system-connections"
    there = {path.name: path for path in places.connections.glob(f"{networks.PREFIX}*{networks.SUFFIX}")}
    changes = []
    for number, network in enumerate(wished):
        name = networks.file_name(network.name)
        secret = networks.escaped(network.password)
        if is_erased(network.password):
            secret = networks.secret_of(there[name].read_text().splitlines()) if name in there else ""
            if not secret:
                what = f"{FILE}: wifi.password of {network.name!r} was erased, and this device does not have it"
                raise ConfigError(what, hint="write the password again")
        text = networks.keyfile(network, HIGHEST_PRIORITY - number, secret)
        changes.append(Change(f"{folder}/{name}", text=text, mode=0o600))
    if not keep_networks:
        gone = sorted(there.keys() - {networks.file_name(network.name) for network in wished})
        changes += [Change(f"{folder}/{name}") for name in gone]
    return changes
