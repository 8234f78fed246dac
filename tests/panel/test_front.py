"""A panel that cannot be had costs the panel and not the appliance, and is taken into use when it is there."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from appliance import config
from appliance.conversation.state import Led
from appliance.errors import DeviceError
from appliance.front import AGAIN_S, GpioFront
from appliance.panel import gpio
from tests.virtual_time import run


class Panel:
    """A GPIO panel that is there after two attempts."""

    attempts = 0
    shown: list[Led]

    def __init__(self, *_: object) -> None:
        Panel.attempts += 1
        if Panel.attempts <= 2:
            raise DeviceError("cannot use GPIO23 (button.pin): no chip", hint="is this a Raspberry Pi?")
        Panel.shown = []

    def show(self, led: Led) -> None:
        Panel.shown.append(led)

    def close(self) -> None:
        Panel.shown.append(Led.OFF)


def test_it_is_tried_again_told_once_and_then_shows_what_is_to_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpio, "GpioPanel", Panel)
    path = tmp_path / "a.toml"
    path.write_text('board = "i2s-mems"\n')
    loaded = config.load(path)

    async def story() -> None:
        front = GpioFront(loaded, lambda _pressed, _at: None, asyncio.get_running_loop())
        assert "no chip" in front.trouble
        front.show(Led.IDLE)
        front.show(Led.LISTENING)
        await asyncio.sleep(AGAIN_S + 1)
        assert "no chip" in front.trouble
        await asyncio.sleep(AGAIN_S)
        assert front.trouble == ""
        assert Panel.shown == [Led.LISTENING]
        front.close()
        assert Panel.shown[-1] is Led.OFF

    with caplog.at_level(logging.INFO):
        run(story())
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_who_ends_without_one_tries_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpio, "GpioPanel", Panel)
    monkeypatch.setattr(Panel, "attempts", 0)
    path = tmp_path / "a.toml"
    path.write_text('board = "i2s-mems"\n')

    async def story() -> None:
        front = GpioFront(config.load(path), lambda _pressed, _at: None, asyncio.get_running_loop())
        front.close()
        await asyncio.sleep(10 * AGAIN_S)
        assert Panel.attempts == 1

    run(story())
