"""Gives each test its own virtual card within one pytest process.

Responsible for: the ``virtual_card`` fixture; a conftest makes it known with
``from tests.fakes.card.session import virtual_card``. Not for: subprocesses, which start with
:attr:`~tests.fakes.card.vcard.VirtualCard.environment`.

alsa-lib looks at ``ALSA_CONFIG_PATH`` on every opening and reads the configuration again when its path or
its modification time changed, so a process can pass from card to card.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.card.vcard import VirtualCard

CardFactory = Callable[..., VirtualCard]


def card_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CardFactory:
    """A maker of cards from :class:`VirtualCard`'s keywords.

    In this process ``vhw``, ``vplug`` and ``default`` are the newest card; ``card.hw_name`` is always that one.
    """
    made: list[VirtualCard] = []

    def make(**options: object) -> VirtualCard:
        card = VirtualCard(tmp_path / f"card{len(made)}", **options)  # type: ignore[arg-type]
        made.append(card)
        for name, value in card.environment.items():
            monkeypatch.setenv(name, value)
        return card

    return make


@pytest.fixture
def virtual_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CardFactory:
    """As :func:`card_factory`, with the test's own folder."""
    return card_factory(tmp_path, monkeypatch)
