"""A question asked of the booted appliance: by its button, into its card, and what became of it."""

from __future__ import annotations

import json
import wave

import numpy as np
import soxr

from tests.booted.machine import Machine
from tests.scenarios.home import ROOT, Samples

QUESTION = ROOT / "appliance/local/questions/what-time-is-it.wav"


def question() -> Samples:
    with wave.open(str(QUESTION)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
    asked: Samples = soxr.resample(samples, rate, 48_000)
    return asked


def status(machine: Machine) -> dict[str, object]:
    found: dict[str, object] = json.loads(machine.run("voice-appliance", "ctl", "status", "--json", check=True).stdout)
    return found


def turns(machine: Machine) -> list[dict[str, float | None]]:
    lines = machine.journal("-u", "voice-appliance").splitlines()
    return [json.loads(line.split("turn ", 1)[1]) for line in lines if "records: turn {" in line]


def talk(machine: Machine) -> tuple[int, dict[str, float | None]]:
    """Hold the button, ask, let go, and wait for the end of the reply: the frame of the release, and the record."""
    before, asked, card = len(turns(machine)), question(), machine.card
    machine.run("voice-appliance", "ctl", "press", check=True)
    machine.until(lambda: card.capture_open, "open microphone")
    until = card.say(asked) + len(asked)
    machine.until(lambda: card.now() > until + 4800, "end of the question")
    machine.run("voice-appliance", "ctl", "release", check=True)
    released = card.now()
    machine.until(lambda: len(turns(machine)) > before, "reply", 45)
    return released, turns(machine)[-1]
