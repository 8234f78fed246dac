from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from appliance.errors import ApplianceError
from appliance.panel.picture import read_picture
from tests.panel.served import Served, serve, until
from tests.panel.test_picture import PNG

# --- the commands -------------------------------------------------------------------------------------------


def test_every_command(path: Path, tmp_path: Path) -> None:
    (tmp_path / "pixel.png").write_bytes(PNG)
    picture = read_picture(tmp_path / "pixel.png")

    async def story(served: Served) -> None:
        client = await served.connect()
        for name in ("press", "release", "tap"):
            assert await client.ask({"cmd": name}) == {"ok": True}
        assert await client.ask({"cmd": "mute"}) == {"ok": True, "muted": True}
        assert await client.ask({"cmd": "mute"}) == {"ok": True, "muted": False}
        assert await client.ask({"cmd": "say", "text": " Grüße \n"}) == {"ok": True}
        assert await client.ask({"cmd": "show", "image_url": picture}) == {"ok": True}
        assert await client.ask({"cmd": "volume", "percent": 0}) == {"ok": True, "percent": 0}
        assert await client.ask({"cmd": "volume", "value": 100}) == {"ok": True, "percent": 100}
        assert await client.ask({"cmd": "status"}) == {"ok": True, "phase": "idle", "level_dbfs": None}

    told = serve(path, story).appliance.told
    assert told == [
        ("press", None),
        ("release", None),
        ("tap", None),
        ("say", "Grüße"),
        ("show", picture),
        ("volume", 0),
        ("volume", 100),
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"cmd":"pres"}\n', "did you mean 'press'"),
        (b'{"cmd":"statsu"}\n', "did you mean 'status'"),
        (b'{"cmd":"zzz"}\n', "known commands: press, release"),
        (b'{"cmd":"' + b"x" * 60_000 + b'"}\n', "known commands"),
        (b'{"cmd":7}\n', "$.cmd"),
        (b"{}\n", "cmd"),
        (b"[]\n", "Expected `object`"),
        (b"hello\n", "not a JSON object"),
        (b"\xff\xfe\n", "not a JSON object"),
        (b"[" * 60_000 + b"\n", "cannot read the command"),
        (b'{"cmd":"press","deep":' + b"[" * 60_000 + b"\n", "not a JSON object"),
        (b'{"cmd":"say"}\n', "no text"),
        (b'{"cmd":"say","text":" "}\n', "no text"),
        (b'{"cmd":"say","text":5}\n', "$.text"),
        (b'{"cmd":"say","text":"' + b"x" * 8001 + b'"}\n', "8000"),
        (b'{"cmd":"say","text":"fail"}\n', "unmute it"),
        (b'{"cmd":"volume"}\n', "0 to 100"),
        (b'{"cmd":"volume","percent":101}\n', "0 to 100"),
        (b'{"cmd":"volume","percent":-1}\n', "0 to 100"),
        (b'{"cmd":"volume","percent":true}\n', "$.percent"),
        (b'{"cmd":"show","path":"/etc/shadow"}\n', "ctl show FILE"),
    ],
)
def test_a_refusal_says_why_and_the_connection_goes_on(path: Path, line: bytes, complaint: str) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        answer = await client.ask(line)
        assert answer["ok"] is False
        assert complaint in f"{answer['error']}; {answer['hint']}"
        assert len(json.dumps(answer)) < 400
        assert await client.ask({"cmd": "tap"}) == {"ok": True}

    assert serve(path, story).appliance.told == [("tap", None)]


def test_lines_in_pieces_several_at_once_and_the_last_without_newline(path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        for piece in (b'{"cmd":', b'"press"}', b"\n\n  \n"):
            await client.send(piece)
            await asyncio.sleep(0.01)
        assert await client.answer() == {"ok": True}
        await client.send(b'{"cmd":"release"}\n{"cmd":"tap"}\n{"cmd":"mute"}')
        client.writer.write_eof()
        assert [await client.answer() for _ in range(3)] == [{"ok": True}, {"ok": True}, {"ok": True, "muted": True}]
        assert await client.ended()

    assert [name for name, _ in serve(path, story).appliance.told] == ["press", "release", "tap"]


def test_half_a_command_is_not_carried_out(path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        await client.send(b'{"cmd":"press"')
        client.writer.write_eof()
        assert (await client.answer())["ok"] is False
        assert await client.ended()

    assert serve(path, story).appliance.told == []


# --- following ----------------------------------------------------------------------------------------------


def test_follow_sends_the_status_and_then_each_record(path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        assert (await client.ask({"cmd": "status", "follow": True}))["phase"] == "idle"
        for turn in range(3):
            served.appliance.records.put_nowait({"event": "turn", "turn": turn})
            assert await client.answer() == {"event": "turn", "turn": turn}
        await client.send(b"ignored\n")
        other = await served.connect()
        assert await other.ask({"cmd": "tap"}) == {"ok": True}
        client.close()
        await until(lambda: served.appliance.followers == 0)

    serve(path, story)


def test_a_follower_is_told_why_it_ends(path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        await client.ask({"cmd": "status", "follow": True})
        served.appliance.records.put_nowait(ApplianceError("too many followers", hint="close one"))
        assert await client.answer() == {"ok": False, "error": "too many followers", "hint": "close one"}
        assert await client.ended()

    serve(path, story)


def test_a_follower_that_reads_too_slowly_is_dropped(path: Path) -> None:
    async def story(served: Served) -> None:
        slow = socket.socket(socket.AF_UNIX)
        slow.connect(str(path))
        slow.sendall(b'{"cmd":"status","follow":true}\n')
        brisk = await served.connect()
        await until(lambda: served.appliance.followers == 1)
        sent = 0
        while served.appliance.followers and sent < 200:
            served.appliance.records.put_nowait({"event": "x" * 50_000})
            sent += 1
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert 5 <= sent < 100, "bounded, and not at the first hiccup"
        assert await brisk.ask({"cmd": "tap"}) == {"ok": True}
        slow.close()

    serve(path, story)


def test_a_follower_stays_beyond_the_idle_time(path: Path) -> None:
    async def story(served: Served) -> None:
        client = await served.connect()
        await client.ask({"cmd": "status", "follow": True})
        await asyncio.sleep(0.3)
        served.appliance.records.put_nowait({"event": "turn"})
        assert await client.answer() == {"event": "turn"}

    serve(path, story, idle_s=0.1)
