"""A sound card without hardware: a real ALSA PCM whose microphone and loudspeaker are a file."""

from tests.fakes.card.layout import Event, Kind, Stream
from tests.fakes.card.library import CardBuildError
from tests.fakes.card.vcard import VirtualCard

__all__ = ["CardBuildError", "Event", "Kind", "Stream", "VirtualCard"]
