"""The commands for whoever sets an appliance up: check, devices, enrol, reset, rotate-key, calibrate.

Responsible for: what they print and their exit codes. Not for: the running daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import __version__, board, config, pins, plugged
from appliance.config import Loaded
from appliance.errors import (
    EXIT_FAILURE,
    ApplianceError,
    ConfigError,
    DeviceError,
    ProvisioningError,
    Secret,
    StateError,
)

if TYPE_CHECKING:  # numpy is loaded by the commands that need it
    from appliance.audio.loop import Loop
    from appliance.credentials.enrolment import Enrolment
    from appliance.credentials.grant import Waiting

Arguments = argparse.Namespace


def _load(arguments: Arguments) -> Loaded:
    return config.load(arguments.config or config.default_path())


def check(arguments: Arguments) -> int:
    """Show the merged configuration and where each value came from, then try what it names."""
    loaded = _load(arguments)
    print("\n".join(config.show(loaded)))
    print()
    failures = 0
    for what, probe in (
        ("microphone", _probe_capture),
        ("loudspeaker", _probe_playback),
        *([("mixer", _probe_mixer)] if loaded.board.mixer else []),
        ("identity", _probe_identity),
        ("enrolment", _probe_enrolment),
    ):
        try:
            print(f"{what:<12} ok: {probe(loaded)}")
        except ApplianceError as error:
            failures += 1
            print(f"{what:<12} FAILED: {error}")
    return EXIT_FAILURE if failures else 0


def _probe_capture(loaded: Loaded) -> str:
    from appliance.audio.capturer import check_microphones
    from appliance.audio.cards import Cards

    audio = loaded.config.audio
    check_microphones(audio.microphones)
    pcm = Cards(audio, loaded.board, time.monotonic).open_capture()
    try:
        return f"{audio.capture}, {pcm.rate} Hz, {pcm.channels} channel(s), {pcm.format}"
    finally:
        pcm.close()


def _probe_playback(loaded: Loaded) -> str:
    from appliance.audio.cards import Cards

    audio = loaded.config.audio
    pcm = Cards(audio, loaded.board, time.monotonic).open_playback()
    pcm.close()
    return f"{audio.playback}, {pcm.rate} Hz, {pcm.channels} channel(s), {pcm.format}"


def _probe_mixer(loaded: Loaded) -> str:
    from appliance.audio import mixer

    trouble = mixer.make(loaded.board, loaded.config.audio)
    if trouble:
        raise DeviceError(trouble)
    return f"{len(mixer.settings_of(loaded.board, loaded.config.audio))} setting(s) of the board made"


def _probe_identity(loaded: Loaded) -> str:
    from appliance.credentials import storage

    directory = Path(loaded.config.state.directory)
    if storage.read(directory / storage.IDENTITY_FILE) is None:
        return f"none yet; the appliance makes one in {directory} when it starts"  # made here it could be root's
    from appliance.credentials.identity import Identity

    return f"its thumbprint is {Identity.load_or_create(directory).thumbprint}"


def _probe_enrolment(loaded: Loaded) -> str:
    from appliance.credentials import enrolment
    from appliance.enrolling import enrolment_token

    url = loaded.config.provisioning.url
    if not url:
        raise ConfigError("no provisioning service", hint="set [provisioning] url")
    known = enrolment.load(Path(loaded.config.state.directory))
    if known is not None and known.issuer == pins.parse(url).issuer:
        return f"as {known.device_id} at {known.issuer}"
    where = f"at {url} (but at {known.issuer})" if known is not None else f"at {url}"
    if enrolment_token(loaded.config) is None:
        hint = "press the button and have the code approved that it says, or run `voice-appliance enrol`"
        raise ProvisioningError(f"not enrolled yet {where}", hint=hint)
    return f"not yet {where}; will enrol at the first press"


def devices(arguments: Arguments) -> int:
    """List sound cards, PCM names and known boards; say which board is used, why, and which others would fit."""
    from appliance.audio import alsa
    from appliance.diagnosis import firmware
    from appliance.first_boot import outcome

    seen = plugged.look()
    print("sound cards:  ", ", ".join(alsa.card_names()) or "none")
    print("PCM names:    ", ", ".join(alsa.device_names()) or "none")
    print("HAT EEPROM:   ", seen.hat or "none")
    print("boards:")
    for name in board.names():
        profile = board.load(name)
        button = f"button GPIO{profile.button.pin}" if profile.button.pin is not None else "no button"
        cards = f"capture {profile.capture.device}, playback {profile.playback.device}"
        print(f"  {name:<21} {profile.name}; {cards}; {button}")
    choice = plugged.choose(seen)
    print(f"found:         {choice.name}: {choice.why}")
    if choice.others:
        print(f"               the cards of {', '.join(choice.others)} are there, too")
    if choice.missing:
        print(f"               but ALSA has no card {choice.missing}; its driver: {choice.board.driver or 'unknown'}")
    path = arguments.config or config.default_path()
    if path.exists():
        loaded = config.load(path)
        print(f"configured:    {'auto, so ' if loaded.chosen else ''}{loaded.config.board} ({path})")
        for finding in firmware.examine(loaded, outcome.load(), outcome.load_lines()):
            print(f"firmware:      {finding}")
    else:
        print(f"configured:    nothing ({path} does not exist)")
    return 0


def enrol(arguments: Arguments) -> int:
    """Enrol this device: with the owner's token, else by a code that is printed. Or only show its key."""
    from appliance.enrolling import enrolment_token
    from appliance.tickets import Tickets

    loaded = _load(arguments)
    if arguments.show_key:
        from appliance.credentials.identity import Identity

        print(Identity.load_or_create(Path(loaded.config.state.directory)).thumbprint)
        return 0
    token = _given_token(arguments.token_file) or enrolment_token(loaded.config)
    done = asyncio.run(Tickets(loaded.config).enrol(token, _tell_code))
    print(f"enrolled at {done.issuer} as {done.device_id}")
    return 0


def _tell_code(waiting: Waiting) -> None:
    where = f" at {waiting.url}" if waiting.url else ""
    print(f"code {waiting.code}: approve it{where}, or there with `voice-provisioning approve {waiting.code}`")
    print(f"waiting, {waiting.expires_in_s / 60:.0f} minutes at most …", flush=True)


def _given_token(path: Path | None) -> Secret | None:
    if path is None:
        return None
    try:
        text = sys.stdin.readline() if str(path) == "-" else path.read_text()
    except OSError as error:
        raise ConfigError(f"--token-file {path}: {error.strerror}", hint="name a readable file") from error
    except ValueError as error:
        raise ConfigError(f"--token-file {path}: not text", hint="name the file with the enrolment token") from error
    if not text.strip():
        raise ConfigError(f"--token-file {path}: no enrolment token is in there", hint="put it there, or leave it out")
    return Secret(text.strip())


def reset(arguments: Arguments) -> int:
    """Forget identity and enrolment, after signing the device out at its service where that can be reached."""
    from appliance import remembered
    from appliance.credentials import enrolment
    from appliance.credentials.http import HttpClient
    from appliance.credentials.identity import Identity

    loaded = _load(arguments)
    directory = Path(loaded.config.state.directory)
    if not arguments.yes:
        question = f"forget the identity in {directory}? The device must be enrolled again. [y/N] "
        print(question, end="", flush=True)
        if sys.stdin.readline().strip().lower() != "y":
            print("nothing was changed")
            return EXIT_FAILURE
    try:
        known = enrolment.load(directory)
        if known is not None:
            identity = Identity.load_or_create(directory)
            client = HttpClient(pins=_pins_of(known))
            asyncio.run(enrolment.revoke(known, identity, client=client, now=time.time))
            print(f"signed out at {known.issuer}")
    except (ProvisioningError, StateError) as error:  # damaged files are a reason for a reset, not against it
        print(f"not signed out: {error}; the owner of the service can revoke this device there")
    enrolment.forget(directory)
    Identity.forget(directory)
    remembered.forget(remembered.RUN)
    print("identity and enrolment are forgotten; restart the appliance")
    return 0


def _pins_of(known: Enrolment) -> frozenset[bytes]:
    return pins.parse(f"{known.issuer}#{pins.PREFIX}{known.pins}").pins if known.pins else frozenset()


def rotate_key(arguments: Arguments) -> int:
    """Change this device's key at its service; it stays enrolled, under the same id."""
    from appliance.credentials import enrolment, rotation
    from appliance.credentials.http import HttpClient
    from appliance.credentials.identity import Identity

    directory = Path(_load(arguments).config.state.directory)
    known = enrolment.load(directory)
    if known is None:
        raise ConfigError("this device is not enrolled", hint="press the button, or run `voice-appliance enrol`")
    identity, client = Identity.load_or_create(directory), HttpClient(pins=_pins_of(known))
    changed = asyncio.run(rotation.change_key(known, identity, directory=directory, client=client, now=time.time))
    print(f"the key was changed; its thumbprint is {changed.identity.thumbprint}")
    if changed.unconfirmed:
        print(f"the old key ends at the next conversation, as now {changed.unconfirmed}")
    return 0


def calibrate(arguments: Arguments) -> int:
    """Play a sound, hear it, say what the loop from loudspeaker to microphone is like, and keep what was found."""
    from appliance import calibrated, kept
    from appliance.audio.calibration.report import report
    from appliance.audio.capturer import check_microphones
    from appliance.audio.loop import judge

    loaded = _load(arguments)
    check_microphones(loaded.config.audio.microphones)
    directory = Path(loaded.config.state.directory)
    volume = kept.load(directory).volume_for(loaded.config.audio.volume)
    if volume == 0:
        raise ApplianceError("the volume is 0: nothing would be heard", hint="`voice-appliance ctl volume 60`")
    print(f"Please be quiet for five seconds: it plays a noise at volume {volume}.", flush=True)
    loop = _measured(loaded, volume)
    print("\n".join((*report(loop), "", str(judge(loop)))))
    if not loop.conclusive:
        return EXIT_FAILURE
    at = datetime.now(UTC).isoformat(timespec="seconds")
    entry = calibrated.Entry(
        key=calibrated.key_of(loaded), loop=loop, volume_percent=volume, at=at, version=__version__
    )
    if not calibrated.save(directory, entry):
        return EXIT_FAILURE
    print(f"kept in {directory / calibrated.FILE_NAME}; a running appliance uses it after `systemctl reload`")
    return 0


def _measured(loaded: Loaded, volume_percent: int) -> Loop:
    """Measure the loop; blocks for some seconds."""
    from appliance.audio.calibration.measurement import begin
    from appliance.audio.calibration.probe import FULL
    from appliance.audio.cards import Cards
    from appliance.translation import canceller_of, gain_of

    audio = loaded.config.audio
    cards = Cards(audio, loaded.board, time.monotonic)
    trouble = cards.make_mixer_settings()
    if trouble:
        print(trouble, flush=True)
    try:
        measurement = begin(cards, audio.microphones, FULL, gain_of(volume_percent), canceller_of(loaded))
    except DeviceError as error:
        if "busy" in error.message and _runs(Path(loaded.config.control.socket)):
            raise DeviceError(
                "the running appliance is using the sound card",
                hint="`systemctl stop voice-appliance`, calibrate, and start it again",
            ) from error
        raise
    try:
        while not measurement.done:
            measurement.pump(time.monotonic())
            time.sleep(measurement.due_s())
        return measurement.finding()
    finally:
        measurement.close()


def _runs(control_socket: Path) -> bool:
    """Say whether an appliance answers at its control socket."""
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(str(control_socket))
        except OSError:
            return False
    return True


COMMANDS: dict[str, Callable[[Arguments], int]] = {
    "check": check,
    "devices": devices,
    "enrol": enrol,
    "reset": reset,
    "rotate-key": rotate_key,
    "calibrate": calibrate,
}
