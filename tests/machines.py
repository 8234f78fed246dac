"""Machines with sound hardware, as their /proc tells it: the root directories that finding a board reads.

Responsible for: writing such a tree. What stands in it is taken from what people published of their machines, and from
the kernel's documentation of these files (Documentation/sound/designs/procfile.rst); no board was at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

WM8960 = "fe203000.i2s-wm8960-hifi wm8960-hifi-0"
AIC3X = "fe203000.i2s-tlv320aic3x-hifi tlv320aic3x-hifi-0"
USB = "USB Audio"
HDMI = "MAI PCM i2s-hifi-0"


@dataclass(frozen=True)
class SoundCard:
    """A card of /proc/asound: its id, its USB id where it is one, its first device and what that can do."""

    name: str
    device: str
    usb: str = ""
    ways: str = "playback 1 : capture 1"


@dataclass(frozen=True)
class Machine:
    """Cards in order, and the HAT's EEPROM as the device tree gives it."""

    cards: tuple[SoundCard, ...] = ()
    hat: Mapping[str, str] = field(default_factory=dict)

    def root(self, directory: Path) -> Path:
        """Write the tree into ``directory`` and return it."""
        hat, asound = directory / "proc/device-tree/hat", directory / "proc/asound"
        asound.mkdir(parents=True)
        if self.hat:
            hat.mkdir(parents=True)
        for name, word in self.hat.items():
            (hat / name).write_bytes(word.encode() + b"\0")
        lines, pcms = [], []
        for number, card in enumerate(self.cards):
            driver = "USB-Audio" if card.usb else "simple-card"
            lines.append(f"{number:2d} [{card.name:<15}]: {driver} - {card.name}\n                      {card.name}\n")
            pcms.append(f"{number:02d}-00: {card.device} : {card.device} : {card.ways}\n")
            (asound / f"card{number}").mkdir()
            if card.usb:
                (asound / f"card{number}/usbid").write_text(card.usb + "\n")
        (asound / "cards").write_text("".join(lines) or "--- no soundcards ---\n")
        (asound / "pcm").write_text("".join(pcms))
        return directory


PI = (SoundCard("vc4hdmi0", HDMI, ways="playback 1"), SoundCard("vc4hdmi1", HDMI, ways="playback 1"))
JACK = SoundCard("Headphones", "bcm2835 Headphones", ways="playback 8")
DONGLE = SoundCard("Device", USB, usb="0d8c:0014")
CODEC_ZERO = {"vendor": "Raspberry Pi Ltd.", "product_id": "0x0101", "product": "Raspberry Pi Codec Zero"}
BLACK_ZERO = {"vendor": "IQaudIO Limited www.iqaudio.com", "product_id": "0x0013", "product": "Pi-CodecZero"}
VOICE_HAT = {"vendor": "Google, Inc.", "product_id": "0x0001", "product": "Google AIY audioHAT Board v1"}
VOICE_BONNET = {"vendor": "Google, Inc.", "product_id": "0x0003", "product": "Voice Bonnet"}  # its product: a guess
ZERO = SoundCard("Zero", "Raspberry Pi Codec Zero HiFi da7213-hifi-0")
