"""What holds something is found by itself, with its path."""

from __future__ import annotations

import itertools
from queue import SimpleQueue

import numpy as np

from appliance.audio.gate import Gate
from appliance.realtime.configuration import Wishes
from appliance.realtime.protocol import Protocol
from tests.soak.sizes import sizes


def test_every_container_of_a_protocol_is_counted_by_its_path() -> None:
    protocol = Protocol(Wishes("m", "v", "i"), (str(n) for n in itertools.count()))
    before = sizes(protocol)
    assert before["uplink._turns"] == before["history._entries"] == 0
    protocol.begin_turn()
    for _ in range(3):
        protocol.append(bytes(960), 0.0)
    protocol.say("so")
    after = sizes(protocol)
    assert after["uplink._turns"] == 1
    assert after["uplink._turns[].chunks"] == 3
    assert after["history._entries"] == 1


def test_queues_arrays_and_slots_are_looked_at_and_circles_end() -> None:
    gate = Gate()
    gate.pass_(bytes(10), 0.0)
    gate.array = np.zeros(7)  # type: ignore[attr-defined]  # whatever hangs off one of our objects
    gate.commands = SimpleQueue()  # type: ignore[attr-defined]
    gate.commands.put(1)  # type: ignore[attr-defined]
    gate.me = gate  # type: ignore[attr-defined]
    assert sizes(gate) == {"_remembered": 1, "array": 7, "commands": 1}
