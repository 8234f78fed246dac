"""Who talks in the rooms: human recordings from Debian's packages, and a spoken reply from the local backend's voice.

Development and test sets share no talker and no sentence. Responsible for: finding, decoding, trimming and
levelling speech at 16 kHz. Not for: rooms (``rooms``). Nothing is copied into the repository: the recordings come
from ``asterisk-core-sounds-*-wav`` and ``asterisk-prompt-it-menardi-wav`` (CC-BY-SA), ``pocketsphinx-testdata`` (BSD).
"""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray

Sound = NDArray[np.float32]  # 16 kHz mono, full scale is 1
Split = Literal["development", "test"]
RATE = 16_000
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "acoustic"
ASTERISK = Path("/usr/share/asterisk/sounds")
SPHINX = Path("/usr/share/pocketsphinx/test/data")
PACKAGES = (
    "asterisk-core-sounds-en-wav asterisk-core-sounds-fr-wav asterisk-core-sounds-it-wav asterisk-core-sounds-ru-wav "
    "asterisk-prompt-it-menardi-wav asterisk-moh-opsound-wav pocketsphinx-testdata"
)
SPEECH_DBFS = -26.0  # of every utterance before the room: RMS of its active part


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something that a person says, trimmed to where the voice begins and ends."""

    talker: str
    name: str
    sound: Sound
    words: str = ""  # what is said, where it is known

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.sound) / RATE


TALKERS: dict[Split, dict[str, tuple[Path, str]]] = {
    "development": {
        "Carlo": (ASTERISK / "it_IT_m_Carlo", "*.wav"),
        "June": (ASTERISK / "fr_CA_f_June", "*.wav"),
        "numbers": (SPHINX, "numbers.raw"),
        "cards": (SPHINX / "cards", "*.wav"),
    },
    "test": {
        "Allison": (ASTERISK / "en_US_f_Allison", "*.wav"),
        "Ivr": (ASTERISK / "ru_RU_f_IvrvoiceRU", "*.wav"),
        "Menardi": (ASTERISK / "it_IT_f_Menardi", "*.wav"),
        "Austen": (SPHINX / "librivox", "*.wav"),
        "forward": (SPHINX, "goforward.raw"),
        "something": (SPHINX, "something.raw"),
    },
}
SHORTEST_S, LONGEST_S = 1.2, 8.0


@cache
def utterances(split: Split) -> tuple[Utterance, ...]:
    """Every utterance of a set that is long enough to interrupt somebody, at most 60 a talker."""
    found: list[Utterance] = []
    for talker, (folder, pattern) in TALKERS[split].items():
        paths = sorted(folder.glob(pattern))
        if not paths:
            raise FileNotFoundError(f"no {pattern} in {folder}; apt-get install {PACKAGES}")
        mine = [u for path in paths if (u := _utterance(talker, path)) is not None]
        step = max(1, len(mine) // 60)
        found += mine[::step][:60]
    return tuple(found)


def _utterance(talker: str, path: Path) -> Utterance | None:
    sound = levelled(_active(_read(path)))
    if len(sound) < SHORTEST_S * RATE:
        return None
    return Utterance(talker, path.stem, sound[: int(LONGEST_S * RATE)])


def _read(path: Path) -> Sound:
    if path.suffix == ".raw":
        return np.asarray(np.frombuffer(path.read_bytes(), "<i2") / 32768, np.float32)
    with wave.open(str(path), "rb") as file:
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())[:, 0]
        rate = file.getframerate()
    mono = np.asarray(data / 32768, np.float32)
    return mono if rate == RATE else np.asarray(soxr.resample(mono, rate, RATE), np.float32)


def frame_power(sound: Sound, frame: int = RATE // 100) -> NDArray[np.float32]:
    """Mean square of each whole 10 ms."""
    whole = len(sound) // frame * frame
    power: NDArray[np.float32] = np.square(sound[:whole]).reshape(-1, frame).mean(axis=1)
    return power


def active_level(sound: Sound) -> float:
    """RMS over the frames within 30 dB of the loudest ones."""
    power = frame_power(sound)
    if not len(power):
        return 0.0
    loud = power > np.percentile(power, 95) * 1e-3
    return float(np.sqrt(power[loud].mean())) if loud.any() else 0.0


def _active(sound: Sound) -> Sound:
    """Without what comes before and after the voice: 30 ms in a row, clearly above the recording's noise, begin it."""
    power = frame_power(sound)
    if not len(power):
        return sound[:0]
    loud = power > max(np.percentile(power, 95) * 4e-3, np.percentile(power, 10) * 8)
    lasting = np.flatnonzero(loud[:-2] & loud[1:-1] & loud[2:])
    if not len(lasting):
        return sound[:0]
    frame = RATE // 100
    return sound[int(lasting[0]) * frame : (int(lasting[-1]) + 4) * frame]


def levelled(sound: Sound, dbfs: float = SPEECH_DBFS) -> Sound:
    """Scaled to a level of its active part."""
    level = active_level(sound)
    return sound if level <= 0 else (sound * (10 ** (dbfs / 20) / level)).astype(np.float32)


# --- the reply ---

_SUBJECTS = {
    "development": (
        "The museum near the harbour", "Your second reminder", "A fresh loaf of rye bread", "The train to Lisbon",
        "My favourite piece of music", "The neighbour's orchard", "An old grandfather clock", "The weather in Oslo",
    ),
    "test": (
        "The capital of Norway", "Tomorrow morning's forecast", "A cup of green tea", "The longest river in Asia",
        "Your shopping list for Friday", "The tower of the cathedral", "A litre of salted water", "The planet Jupiter",
    ),
}  # fmt: skip
_PREDICATES = {
    "development": (
        "is open from nine until half past five, except on public holidays.",
        "needs about forty minutes and a little patience.",
        "was built by hand more than two hundred years ago, and it still works.",
        "sounds wonderful; would you like to hear more about it?",
        "costs eleven pounds, although children pay nothing at all.",
        "could be a good idea, because the evening will be quiet and dry.",
    ),
    "test": (
        "has surprised many visitors, as it is far larger than they expect.",
        "contains roughly three hundred and twenty grams of sugar, I am afraid.",
        "will change slowly during the night, so please check again after breakfast.",
        "can be seen from the window when the sky is clear.",
        "takes its name from a very old story about two brothers.",
        "is usually ready in less than a quarter of an hour, if you stir it well.",
    ),
}


def sentences(split: Split) -> list[str]:
    """The sentences of the reply in a fixed, mixed order; none is in the other set."""
    subjects, predicates = _SUBJECTS[split], _PREDICATES[split]
    count = len(subjects) * len(predicates)
    pairs = [(i % len(subjects), (i * 5 + i // len(subjects)) % len(predicates)) for i in range(count)]
    return [f"{subjects[s]} {predicates[p]}" for s, p in dict.fromkeys(pairs)]


@cache
def reply(split: Split, count: int | None = None) -> Sound:
    """Some minutes of spoken reply, ``count`` sentences or all; synthesised once and kept in ``.cache``."""
    texts = sentences(split)[:count]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    path = CACHE / f"reply-{split}-{digest}.npy"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{hashlib.sha256(str(id(texts)).encode()).hexdigest()[:6]}.npy")
        np.save(part, _spoken(texts))
        part.replace(path)
    return levelled(np.load(path).astype(np.float32), -20.0)


def _spoken(texts: Sequence[str]) -> Sound:
    from hibari import Hibari

    voice = Hibari()
    parts: list[Sound] = []
    for number, text in enumerate(texts):
        spoken = np.asarray(voice(text, speed=(0.9, 1.0, 1.15)[number % 3], seed=0), np.float32)
        parts.append(np.asarray(soxr.resample(spoken, 24_000, RATE), np.float32))
    return np.concatenate(parts)


@cache
def music() -> tuple[Sound, ...]:
    """Pieces of music for the background."""
    folder = Path("/usr/share/asterisk/moh")
    return tuple(levelled(_read(path)[: 120 * RATE]) for path in sorted(folder.glob("*.wav")))
