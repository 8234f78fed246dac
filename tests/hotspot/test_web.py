"""The page's process against strangers: only its own address, only its own form, and never longer than it likes."""

from __future__ import annotations

import socket
import urllib.parse

import pytest

from appliance.hotspot import web
from tests.hotspot.house import SOON_S, House


def raw(house: House, data: bytes) -> bytes:
    """Send bytes, and read until it closes."""
    with socket.create_connection(house.session.address, timeout=SOON_S) as link:
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        found = b""
        while more := link.recv(65536):
            found += more
        return found


def test_a_phone_that_looks_for_a_login_page_is_led_to_ours(house: House) -> None:
    with house:
        house.opened()
        for path in ("/generate_204", "/hotspot-detect.html", "/connecttest.txt"):
            answer, _ = house.request("GET", path, Host="connectivitycheck.example")
            assert (answer.status, answer.getheader("Location")) == (302, f"http://{house.host}/")
        answer, _ = house.request("GET", "/elsewhere")
        assert (answer.status, answer.getheader("Location")) == (302, f"http://{house.host}/")


def test_only_its_own_form_from_its_own_page_counts(house: House) -> None:
    with house:
        house.opened()
        good = {"wifi": "Home"}
        for fields, headers in (
            ({"csrf": "x"}, {}),
            ({"csrf": ""}, {}),
            ({"csrf": "ü"}, {}),
            ({}, {"Origin": "http://evil.example"}),
            ({}, {"Origin": "null"}),
            ({}, {"Host": "evil.example"}),
        ):
            status, _ = house.post({**good, **fields}, **headers)
            assert status == 403, (fields, headers)
        assert house.machine.settings() == {}
        status, _ = house.post(good, Origin=f"http://{house.host}")
        assert status == 200
        assert house.ended() is True


def test_its_headers_forbid_what_it_does_not_need(house: House) -> None:
    with house:
        house.opened()
        for path in ("/", "/style.css"):
            answer, _ = house.request("GET", path)
            for name, value in web.HEADERS:
                assert answer.getheader(name) == value, (path, name)
        assert "script" not in house.request("GET")[1]
        assert house.request("HEAD")[1] == ""


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"\x16\x03\x01\x02\x00\x01", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", b""),
        (b"BREW / HTTP/1.1\r\nHost: HOST\r\n\r\n", b"405"),
        (b"POST /x HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9000\r\n\r\n" + b"a" * 9000, b"413"),
        (b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\n\xff=\xff", b"400"),
        (b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 80\r\n\r\n" + b"a=1&" * 20, b"400"),
        (b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 10\r\n\r\nabc", b""),
    ],
)
def test_nonsense_is_refused_and_the_page_lives_on(house: House, data: bytes, status: bytes) -> None:
    with house:
        house.opened()
        answer = raw(house, data.replace(b"HOST", house.host.encode()))
        if status:
            assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
        else:
            assert not answer.startswith(b"HTTP/1.1 2"), answer[:200]
        assert house.request("GET")[0].status == 200


def test_many_silent_strangers_keep_nobody_out_for_long_and_cost_nothing(house: House) -> None:
    with house:
        house.opened()
        silent = [socket.create_connection(house.session.address, timeout=5) for _ in range(web.MOST_CONNECTIONS)]
        with socket.create_connection(house.session.address, timeout=5) as one_more:
            assert one_more.recv(10) == b"", "shut at once"
        for link in silent:
            link.close()
        status, _ = house.post({"wifi": ""})
        assert status == 422


def test_names_of_wifis_around_are_offered_and_harmless(house: House) -> None:
    house.nmcli.around('Home"><script>alert(1)</script>', "a:b\\c", "", "Home 2", "Home 2")
    with house:
        house.opened()
        text = house.request("GET")[1]
        assert "<script>" not in text
        assert text.count("<option ") == 3
        assert 'value="a:b\\c"' in text


def test_what_is_stored_is_never_shown(house: House) -> None:
    with house:
        house.opened()
        body = urllib.parse.urlencode(
            {"csrf": house.mark(), "wifi": "H", "password": "hunter2 hunter2", "token": "vet_12345678 9"}
        )
        text = house.request("POST", "/", body)[1]
        assert "hunter2" not in text
        assert "vet_" not in text
