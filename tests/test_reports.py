"""Session reports: counted, queued within bounds, delivered in order, kept over a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

from appliance.errors import ProvisioningError, Secret
from appliance.realtime.session import Ticket
from appliance.realtime.usage import Tokens
from appliance.reports import AT_MOST, FILE_NAME, Report, Reports


def ticket(number: int) -> Ticket:
    return Ticket("ws://a", "m", Secret("ek_x"), session_id=f"s{number}")


def in_time() -> float:
    return 0.0


def filled(count: int) -> Reports:
    reports = Reports()
    for number in range(count):
        reports.ended(ticket(number), 1.0, "idle")
    return reports


def test_tokens_belong_to_the_session_that_was_open() -> None:
    reports = Reports()
    reports.used(Tokens(audio_in=5))
    reports.used(Tokens(audio_in=2, text_out=1))
    reports.ended(ticket(1), 61.26, "idle")
    reports.ended(ticket(2), 0.0, "lost")
    assert list(reports.waiting) == [
        Report("s1", 61.3, "idle", "m", {"audio_in": 7, "text_out": 1}),
        Report("s2", 0.0, "lost", "m", {}),
    ]


def test_the_queue_is_bounded_and_the_newest_win() -> None:
    reports = filled(AT_MOST + 5)
    assert [report.session_id for report in reports.waiting] == [f"s{n}" for n in range(5, AT_MOST + 5)]


def test_a_session_without_a_name_cannot_be_reported() -> None:
    reports = Reports()
    reports.ended(Ticket("ws://a", "m", Secret("ek_x")), 1.0, "idle")
    assert not reports.waiting


def test_what_the_network_swallows_waits_and_what_the_service_refuses_is_dropped() -> None:
    reports, codes = filled(3), ["", "bad_answer", "unreachable"]
    sent: list[str] = []

    async def send(report: Report) -> None:
        sent.append(report.session_id)
        if code := codes.pop(0):
            raise ProvisioningError("no", code=code, retry=True)

    asyncio.run(reports.deliver(send, in_time))
    assert sent == ["s0", "s1", "s2"]
    assert [report.session_id for report in reports.waiting] == ["s2"]


def test_nothing_is_lost_nor_asked_again_while_the_service_says_wait() -> None:
    reports, clock, sent = filled(3), [100.0], list[str]()
    busy = [ProvisioningError("too often", code="unreachable", retry=True, retry_after_s=30)]

    async def send(report: Report) -> None:
        sent.append(report.session_id)
        if len(sent) == 2 and busy:
            raise busy.pop()

    async def story() -> None:
        for at_s in (100.0, 110.0, 129.9, 130.0):
            clock[0] = at_s
            await reports.deliver(send, lambda: clock[0])

    asyncio.run(story())
    assert sent == ["s0", "s1", "s1", "s2"]
    assert not reports.waiting


def test_one_delivery_at_a_time_and_none_is_sent_twice() -> None:
    reports = filled(3)
    sent: list[str] = []

    async def send(report: Report) -> None:
        sent.append(report.session_id)
        await asyncio.sleep(0)

    async def story() -> None:
        await asyncio.gather(reports.deliver(send, in_time), reports.deliver(send, in_time))

    asyncio.run(story())
    assert sent == ["s0", "s1", "s2"]


def test_a_queue_that_overflows_while_it_is_sent_loses_only_the_oldest() -> None:
    reports = filled(AT_MOST)
    sent: list[str] = []

    async def send(report: Report) -> None:
        if not sent:
            reports.ended(ticket(99), 1.0, "idle")
        sent.append(report.session_id)

    asyncio.run(reports.deliver(send, in_time))
    assert sent == [*(f"s{n}" for n in range(AT_MOST)), "s99"]


def test_a_restart_keeps_them_and_reads_them_once(tmp_path: Path) -> None:
    filled(3).save(tmp_path)
    again = Reports()
    again.ended(ticket(7), 1.0, "idle")
    again.load(tmp_path)
    assert [report.session_id for report in again.waiting] == ["s0", "s1", "s2", "s7"]
    assert not (tmp_path / FILE_NAME).exists()
    Reports().save(tmp_path)
    assert not (tmp_path / FILE_NAME).exists(), "nothing to keep, nothing to write"


def test_damaged_reports_stop_nothing(tmp_path: Path) -> None:
    for content in (b"", b"[", b'[{"session_id": 1}]', b"\xff"):
        (tmp_path / FILE_NAME).write_bytes(content)
        reports = Reports()
        reports.load(tmp_path)
        assert not reports.waiting
