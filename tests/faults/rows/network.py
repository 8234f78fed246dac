"""The network: slow, late, lossy, held, cut, without names, or with somebody else in it. And the time it brings."""

from __future__ import annotations

from tests.fakes.proxy import http
from tests.faults.row import Heals, Row, When
from tests.faults.rows.acts import clock, cut, die, fair, in_1970, link, names, service, several, weather

ITSELF, PRESS, PERSON, ENDURED = Heals.ITSELF, Heals.PRESS, Heals.PERSON, Heals.ENDURED
IDLE, ASKED, LISTENING, THINKING, SPEAKING = When
CUT, REFUSED, OFFLINE = ("cue_offline",), ("cue_error",), ("offline",)
HASTY = "[conversation]\nthink_s = 5\n"
IMPATIENT = "[realtime]\nping_interval_s = 1\nping_timeout_s = 2\n"
held, calm = weather(link, held=True), fair(link)
radio_gone = several(weather(link, refused=True), cut(link))
PORTAL = http("200 OK", b"<html><title>Free Wi-Fi</title>Please log in", kind="text/html")
MOVED = http("302 Found", b"", "Location: http://login.example/", kind="text/html")
HOUR_S = 3600.0

WEATHER = (
    Row(
        "stall 5 s, listening", LISTENING, "nothing passes for 5 s", held, ITSELF, calm, lasts_s=5.0, quick_lasts_s=2.0
    ),
    Row("stall 5 s, thinking", THINKING, "nothing passes for 5 s", held, ITSELF, calm, lasts_s=5.0, quick_lasts_s=3.0),
    Row("stall 5 s, speaking", SPEAKING, "nothing passes for 5 s", held, ITSELF, calm, lasts_s=5.0, quick_lasts_s=2.0),
    Row(
        "stall 60 s, thinking",
        THINKING,
        "nothing passes for 60 s",
        held,
        PRESS,
        calm,
        hears=("cue_offline|cue_error",),
        sees=OFFLINE,
        loses="question",
        lasts_s=60.0,
        quick_lasts_s=8.0,
        quick_settings=HASTY,
        notice_s=25.0,
    ),
    Row(
        "stall 60 s, idle",
        IDLE,
        "nothing passes for 60 s",
        held,
        ITSELF,
        calm,
        lasts_s=60.0,
        quick_lasts_s=5.0,
        quick_settings=IMPATIENT,
        notice_s=55.0,
    ),
    Row("half-open, idle", IDLE, "the peer is gone and nobody says so", die(link), PRESS, lasts_s=0.0, within_s=20.0),
    Row(
        "half-open, listening",
        LISTENING,
        "the peer is gone and nobody says so",
        die(link),
        ITSELF,
        within_s=20.0,
    ),
    Row(
        "half-open, thinking",
        THINKING,
        "the peer is gone and nobody says so",
        die(link),
        ITSELF,
        within_s=20.0,
    ),
    Row(
        "half-open, speaking",
        SPEAKING,
        "the peer is gone and nobody says so",
        die(link),
        ITSELF,
        hears=CUT,
        loses="reply",
        within_s=20.0,
    ),
    Row("RST, idle", IDLE, "the connection is reset", cut(link), ITSELF),
    Row("RST, listening", LISTENING, "the connection is reset", cut(link), ITSELF),
    Row("RST, thinking", THINKING, "the connection is reset", cut(link), ITSELF),
    Row("RST, speaking", SPEAKING, "the connection is reset", cut(link), ITSELF, hears=CUT, loses="reply"),
    Row(
        "32 kbit/s",
        IDLE,
        "4,000 bytes a second each way",
        weather(link, bytes_per_s=4000),
        ENDURED,
        calm,
        within_s=40.0,
    ),
    Row("delay 500 ms", IDLE, "half a second each way", weather(link, delay_s=0.5), ENDURED, calm),
    Row("loss 5 %", IDLE, "5 of 100 pieces wait for their repetition", weather(link, loss=0.05), ENDURED, calm),
    Row(
        "outage 3 s, mid-question",
        LISTENING,
        "reset, and refused for 3 s",
        radio_gone,
        ITSELF,
        calm,
        lasts_s=3.0,
        sees=(),
        hears=(),
    ),
    Row(
        "outage 3 s, mid-thought",
        THINKING,
        "reset, and refused for 3 s",
        radio_gone,
        ITSELF,
        calm,
        lasts_s=3.0,
        hears=CUT,
        sees=OFFLINE,
    ),
    Row(
        "outage 3 s, mid-reply",
        SPEAKING,
        "reset, and refused for 3 s",
        radio_gone,
        PRESS,
        calm,
        hears=CUT,
        loses="reply",
        lasts_s=3.0,
    ),
    Row(
        "outage, asked",
        ASKED,
        "nobody listens, for as long as it takes to tell",
        radio_gone,
        ITSELF,
        calm,
        hears=CUT,
        sees=OFFLINE,
        lasts_s=3.0,
    ),
    Row(
        "DNS down",
        ASKED,
        "no name is found",
        several(cut(link), names(there=False)),
        ITSELF,
        names(there=True),
        hears=CUT,
        sees=OFFLINE,
        profile="named",
        lasts_s=3.0,
    ),
    Row(
        "captive portal 200",
        ASKED,
        "a login page in the server's place",
        several(weather(link, answer=PORTAL), cut(link)),
        ITSELF,
        calm,
        hears=CUT,
        sees=OFFLINE,
        lasts_s=2.0,
    ),
    Row(
        "captive portal 302",
        ASKED,
        "sent on to a login page",
        several(weather(link, answer=MOVED), cut(link)),
        ITSELF,
        calm,
        hears=CUT,
        sees=OFFLINE,
        lasts_s=2.0,
    ),
    Row(
        "captive portal at the service",
        ASKED,
        "a login page in the service's place",
        weather(service, answer=PORTAL),
        ITSELF,
        fair(service),
        hears=CUT,
        sees=OFFLINE,
        cold=True,
        lasts_s=2.0,
    ),
)


def _certificate(name: str, says: str, heals: Heals = PERSON) -> Row:
    return Row(
        f"certificate {name}",
        ASKED,
        f"the server's certificate is {name}",
        several(cut(link), lambda at: at.town.show(name)),
        heals,
        lambda at: at.town.show("valid"),
        hears=(says,),
        sees=OFFLINE,
        profile="secure",
        loses="question",
        lasts_s=1.0,
    )


TIME = (
    _certificate("expired", "said_certificate_refused"),
    _certificate("of another host", "said_certificate_refused"),
    _certificate("not yet valid", "said_clock_behind", ITSELF),
    Row(
        "clock at 1970",
        ASKED,
        "the board starts in 1970, and the time comes after 3 s",
        clock(in_1970),
        ITSELF,
        clock(0.0),
        hears=("said_clock_behind",),
        sees=OFFLINE,
        profile="secure",
        cold=True,
        lasts_s=3.0,
    ),
    Row("clock leaps an hour ahead, listening", LISTENING, "+1 h", clock(HOUR_S), ENDURED),
    Row("clock leaps an hour back, listening", LISTENING, "-1 h", clock(-HOUR_S), ENDURED),
    Row("clock leaps an hour ahead, speaking", SPEAKING, "+1 h", clock(HOUR_S), ENDURED),
    Row("clock leaps an hour back, speaking", SPEAKING, "-1 h", clock(-HOUR_S), ENDURED),
    Row(
        "clock an hour wrong, new session",
        ASKED,
        "-1 h, and a session to mint",
        several(clock(-HOUR_S), cut(link)),
        ENDURED,
    ),
)

ROWS: tuple[Row, ...] = (*WEATHER, *TIME)
