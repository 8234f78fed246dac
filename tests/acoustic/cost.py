"""What each stage of the chain costs for 10 ms of sound, on this machine: medians over many blocks.

Responsible for: timing the stages apart and all of them together. A Cortex-A53 core is assumed ten times slower
(none was at hand); that assumption is printed with the numbers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from appliance.audio.bargein import BargeIn
from appliance.audio.ears import Ears
from appliance.audio.endpoint import Endpointer
from appliance.audio.format import Samples
from appliance.audio.linear import HOP, LinearCanceller
from appliance.audio.listener import Listener
from appliance.audio.processing import BLOCK, Aec3, EarshotDetector
from appliance.audio.resample import Resampler
from appliance.audio.unexplained import Unexplained
from tests.acoustic.voices import reply

BLOCKS = 1500
SLOWER = 10


def per_10ms_us(work: Callable[[int], object], blocks_a_call: int = 1) -> float:
    """Median microseconds of ``work(k)`` per 10 ms, which one call is worth ``blocks_a_call`` of."""
    spent = []
    for call in range(BLOCKS // blocks_a_call):
        begun = time.perf_counter()
        work(call)
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent[len(spent) // 10 :]) * 1e6 / blocks_a_call


def stages_us() -> dict[str, float]:
    """Cost by stage; ``chain`` is the sum of what runs for each 10 ms in which the loudspeaker sounds."""
    far = (np.clip(reply("development")[: BLOCKS * BLOCK], -1, 1) * 32767).astype(np.int16)
    near = (np.convolve(far, np.array([0, 0.3, -0.2, 0.1, 0.05]), "same") * 0.5).astype(np.int16)
    wide = np.repeat(near, 3)

    def of(samples: Samples, size: int) -> Callable[[int], Samples]:
        return lambda k: samples[k * size % (len(samples) - size) :][:size]

    nears, fars, wides = of(near, BLOCK), of(far, BLOCK), of(wide, 960)
    up, down, wider = Resampler(48_000, 24_000), Resampler(24_000, 16_000), Resampler(16_000, 24_000)
    session, reference = of(np.repeat(near, 2), 480), Resampler(48_000, 16_000)
    aec, linear, unexplained, detector = Aec3(), LinearCanceller(), Unexplained(), EarshotDetector()
    floats = (near / 32768).astype(np.float32), (far / 32768).astype(np.float32)

    def hop(k: int) -> object:
        at = k * HOP % (len(near) - HOP)
        return unexplained(*linear(floats[0][at : at + HOP], floats[1][at : at + HOP]))

    listener = Listener(
        Ears(Aec3(), EarshotDetector()), BargeIn(), Endpointer(700), lambda _: None, lambda _: True, hush=False
    )
    found = {
        "capture 48 to 24 kHz": per_10ms_us(lambda k: up.process(wides(k)), 2),
        "capture 24 to 16 kHz": per_10ms_us(lambda k: down.process(session(k)), 2),
        "reference 48 to 16 kHz": per_10ms_us(lambda k: reference.process(wide[k * 480 % 200_000 :][:480])),
        "AEC3": per_10ms_us(lambda k: aec(nears(k), fars(k))),
        "linear filter and its residue": per_10ms_us(hop, 2),
        "detector": per_10ms_us(lambda k: detector(nears(k))),
        "cleaned 16 to 24 kHz": per_10ms_us(lambda k: wider.process(nears(k))),
    }

    def pair(k: int) -> None:
        for block in (2 * k, 2 * k + 1):  # the linear filter works on every second one
            listener.block(nears(block), fars(block), block / 100)

    whole = per_10ms_us(pair, 2)
    of_listener = found["AEC3"] + found["linear filter and its residue"] + found["detector"]
    found["levels, floor, decisions"] = max(0.0, whole - of_listener)
    found["chain"] = sum(found.values())
    return found
