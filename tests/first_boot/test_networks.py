"""Keyfiles, read back by the library that NetworkManager reads them with."""

from __future__ import annotations

import ctypes
import ctypes.util

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.first_boot import networks
from appliance.first_boot.wishes import Wifi


def read_by_glib(text: str, group: str, key: str) -> str | None:
    """What GLib finds; ``None``: nothing."""
    glib = ctypes.CDLL(ctypes.util.find_library("glib-2.0") or "libglib-2.0.so.0")
    glib.g_key_file_new.restype = glib.g_key_file_get_string.restype = ctypes.c_void_p
    file = ctypes.c_void_p(glib.g_key_file_new())
    data = text.encode()
    assert glib.g_key_file_load_from_data(file, data, ctypes.c_size_t(len(data)), 0, None), text
    found = glib.g_key_file_get_string(file, group.encode(), key.encode(), None)
    try:
        return None if found is None else ctypes.string_at(found).decode()
    finally:
        glib.g_free(ctypes.c_void_p(found))
        glib.g_key_file_free(file)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=8, max_size=63))
@settings(max_examples=200, deadline=None)
def test_every_password_is_read_back(password: str) -> None:
    text = networks.keyfile(Wifi(name="Home", password=password), 90, networks.escaped(password))
    assert read_by_glib(text, "wifi-security", "psk") == password
    assert networks.escaped(password) == networks.secret_of(text.splitlines())


@given(st.text(min_size=1, max_size=8).filter(str.isprintable))
@settings(max_examples=200, deadline=None)
def test_every_name_is_read_back_and_is_one_file(name: str) -> None:
    text = networks.keyfile(Wifi(name=name), 90, "")
    ssid = read_by_glib(text, "wifi", "ssid") or ""
    assert bytes(int(number) for number in ssid.split(";") if number).decode() == name
    assert read_by_glib(text, "connection", "id") == f"voice-{name}"
    assert read_by_glib(text, "wifi-security", "key-mgmt") is None
    assert "/" not in networks.file_name(name)


def test_the_first_wifi_is_preferred_and_nobody_has_to_ask_again() -> None:
    text = networks.keyfile(Wifi(name="Home", hidden=True), 90, "")
    assert read_by_glib(text, "connection", "autoconnect-priority") == "90"
    assert read_by_glib(text, "connection", "autoconnect-retries") == "0"
    assert read_by_glib(text, "wifi", "hidden") == "true"
