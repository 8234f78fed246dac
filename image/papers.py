"""What lies beside the image: packages with versions and hashes, bill of materials, Raspberry Pi Imager's manifest.

Responsible for: saying what is in the image, from what apt knew when it was made and from the Python lock. The bill is
SPDX 2.3 in JSON (spdx.github.io/spdx-spec/v2.3); the manifest has the keys of Imager's ``os_list`` (its file
``doc/json-schema/os-list-schema.json``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

LICENCE = "NOASSERTION"


class Package(NamedTuple):
    """A package in the image, by whom it was packed, and its files' hashes (of a lock: those that it allows)."""

    kind: str  # deb or pypi
    name: str
    version: str
    architecture: str
    sha256: tuple[str, ...]


def from_apt(told: str) -> list[Package]:
    """Read what ``apt-cache show`` said of each installed package."""
    found = []
    for paragraph in told.split("\n\n"):
        fields = dict(re.findall(r"(?m)^(Package|Version|Architecture|SHA256): (.*)$", paragraph))
        if fields:
            found.append(
                Package("deb", fields["Package"], fields["Version"], fields["Architecture"], (fields["SHA256"],))
            )
    return sorted(set(found))


def from_lock(lock: str) -> list[Package]:
    """Read a Python lock."""
    found = []
    for entry in re.split(r"(?m)^(?=[a-z0-9])", lock):
        match = re.match(r"([A-Za-z0-9._-]+)==([^ ;\\\n]+)", entry)
        if match:
            hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
            found.append(Package("pypi", match[1], match[2], "any", hashes))
    return sorted(found)


def listing(packages: Iterable[Package]) -> str:
    """Write the list: one package a line."""
    head = "# kind\tname\tversion\tarchitecture\tsha256 (of a Python package: of the files that its lock allows)\n"
    return head + "".join(
        f"{p.kind}\t{p.name}\t{p.version}\t{p.architecture}\t{','.join(p.sha256)}\n" for p in packages
    )


def bill(name: str, version: str, packages: Sequence[Package], *, epoch: int, sha256: str) -> bytes:
    """Write the bill of materials of the image with this hash."""
    image = {
        "SPDXID": "SPDXRef-image",
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "checksums": [{"algorithm": "SHA256", "checksumValue": sha256}],
        "licenseConcluded": LICENCE,
        "licenseDeclared": "Apache-2.0",
        "copyrightText": LICENCE,
    }
    described = {
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-image",
    }
    entries = [_entry(package) for package in packages]
    held = [
        {"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": entry["SPDXID"]}
        for entry in entries
    ]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:voice-appliance:image:{sha256}",
        "creationInfo": {"created": _time(epoch), "creators": ["Tool: voice-appliance-image"]},
        "packages": [image, *entries],
        "relationships": [described, *held],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _entry(package: Package) -> dict[str, object]:
    version = package.version.replace("+", "%2B").replace(":", "%3A")
    where = f"pkg:deb/debian/{package.name}" if package.kind == "deb" else f"pkg:pypi/{package.name}"
    locator = f"{where}@{version}" + (f"?arch={package.architecture}" if package.kind == "deb" else "")
    entry: dict[str, object] = {
        "SPDXID": f"SPDXRef-{package.kind}-" + re.sub("[^A-Za-z0-9.-]", "-", package.name),
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": LICENCE,
        "licenseDeclared": LICENCE,
        "copyrightText": LICENCE,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}
        ],
    }
    if package.kind == "deb":  # of a lock it is one of many: the list has them
        entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": package.sha256[0]}]
    return entry


def manifest(
    name: str,
    version: str,
    *,
    raw_bytes: int,
    raw_sha256: str,
    packed_bytes: int,
    packed_sha256: str,
    url: str,
    epoch: int,
) -> bytes:
    """Write the manifest for Raspberry Pi Imager; it takes no address but a whole one as ``url``."""
    entry = {
        "name": name,
        "description": f"Voice appliance {version}: flash it, press the button, talk",
        "url": url,
        "release_date": _time(epoch)[:10],
        "extract_size": raw_bytes,
        "extract_sha256": raw_sha256,
        "image_download_size": packed_bytes,
        "image_download_sha256": packed_sha256,
        "devices": ["pi5-64bit", "pi4-64bit", "pi3-64bit"],
        "init_format": "none",
    }
    return msgspec.json.format(msgspec.json.encode({"os_list": [entry]}), indent=1) + b"\n"


def _time(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
