"""The Realtime server goes, turns us away, or complains."""

from __future__ import annotations

from tests.fakes.upstream import Answer
from tests.faults.row import Heals, Row, When
from tests.faults.rows.acts import close, complain_of, cut, error, provider, script, several

ITSELF, PRESS, PERSON, ENDURED = Heals.ITSELF, Heals.PRESS, Heals.PERSON, Heals.ENDURED
IDLE, ASKED, LISTENING, THINKING, SPEAKING = When
MAXIMUM = "Your session hit the maximum duration of 60 minutes."
CUT = ("cue_offline",)
REFUSED = ("cue_error",)
FATAL = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "account_deactivated",
    "invalid_api_key",
    "beta_api_shape_disabled",
)
UNCONFIGURED = ("unknown_parameter", "invalid_value", "missing_required_parameter", "cannot_update_voice")

CLOSES = (
    Row("close 1000, idle", IDLE, "the server says good-bye", close(1000), ITSELF),
    Row("close 1001 maximum duration, idle", IDLE, "the hour is over", close(1001, MAXIMUM), ITSELF),
    Row("close 1001 maximum duration, thinking", THINKING, "the hour is over", close(1001, MAXIMUM), ITSELF),
    Row("close 1006, idle", IDLE, "the socket ends without a word", close(1006), ITSELF),
    Row("close 1006, listening", LISTENING, "the socket ends without a word", close(1006), ITSELF),
    Row("close 1006, thinking", THINKING, "the socket ends without a word", close(1006), ITSELF),
    Row(
        "close 1006, speaking",
        SPEAKING,
        "the socket ends without a word",
        close(1006),
        ITSELF,
        hears=CUT,
        loses="reply",
    ),
    Row("close 1011, thinking", THINKING, "the server fails", close(1011, "internal error"), ITSELF),
    Row("close 1012, listening", LISTENING, "the server restarts", close(1012, "service restart"), ITSELF),
    Row("close 1012, speaking", SPEAKING, "the server restarts", close(1012), ITSELF, hears=CUT, loses="reply"),
    Row(
        "close 4000, thinking",
        THINKING,
        "the server dropped our protocol",
        close(4000, "beta_api_shape_disabled"),
        PERSON,
        hears=("said_beta_api_shape_disabled",),
        sees=("error",),
        loses="question",
    ),
)

UPGRADES = (
    Row(
        "secret expired before use",
        ASKED,
        "the upgrade is refused with 401, once",
        script(refuse_first=[401]),
        ENDURED,
        cold=True,
    ),
    Row(
        "upgrade 401 for good",
        ASKED,
        "the upgrade is refused with 401",
        script(refuse_status=401),
        PERSON,
        script(refuse_status=0),
        hears=("said_invalid_api_key",),
        sees=("error",),
        loses="question",
        cold=True,
    ),
    Row(
        "upgrade 403 for good",
        ASKED,
        "the upgrade is refused with 403",
        script(refuse_status=403),
        PERSON,
        script(refuse_status=0),
        hears=("said_invalid_api_key",),
        sees=("error",),
        loses="question",
        cold=True,
    ),
    Row(
        "upgrade 404: the only model is gone",
        ASKED,
        "the model is gone",
        script(refuse_status=404),
        PERSON,
        script(refuse_status=0),
        hears=("said_model_not_found",),
        sees=("error",),
        loses="question",
        cold=True,
    ),
    Row(
        "upgrade 429",
        ASKED,
        "too many sessions, for 3 s",
        script(refuse_status=429),
        ITSELF,
        script(refuse_status=0),
        hears=CUT,
        sees=("offline",),
        cold=True,
        lasts_s=3.0,
    ),
    Row(
        "upgrade 503",
        ASKED,
        "the server is overloaded, for 3 s",
        script(refuse_status=503),
        ITSELF,
        script(refuse_status=0),
        hears=CUT,
        sees=("offline",),
        cold=True,
        lasts_s=3.0,
    ),
)

ERRORS = (
    Row(
        "error response_cancel_not_active",
        IDLE,
        "an error that means nothing",
        error("response_cancel_not_active"),
        ENDURED,
    ),
    Row(
        "error commit_empty",
        ASKED,
        "the turn was no turn",
        complain_of("input_audio_buffer.commit", "input_audio_buffer_commit_empty"),
        PRESS,
        hears=("cue_too-short",),
        loses="question",
    ),
    Row(
        "error of truncation",
        IDLE,
        "'already shorter than'",
        error("", "Audio content of 0ms is already shorter than 100ms"),
        ENDURED,
    ),
    Row("error item_not_found", IDLE, "an item that is not there", error("item_not_found"), ENDURED),
    Row(
        "error already_has_active_response",
        ASKED,
        "another response is active, for half a second",
        complain_of("response.create", "conversation_already_has_active_response"),
        ITSELF,
        lambda at: at.send({"type": "response.done", "response": {"id": "resp_other", "status": "cancelled"}}),
        lasts_s=1.0,
    ),
    *(
        Row(
            f"error {code} of the settings",
            ASKED,
            "the session settings are refused, once",
            complain_of("session.update", code),
            ENDURED,
            cold=True,
        )
        for code in UNCONFIGURED
    ),
    Row(
        "error rate_limit_exceeded",
        ASKED,
        "no answer now",
        complain_of("response.create", "rate_limit_exceeded"),
        PRESS,
        hears=REFUSED,
        loses="question",
    ),
    *(
        Row(
            f"error {code}",
            THINKING,
            "the account is refused in the middle",
            error(code),
            PERSON,
            hears=(f"said_{code}",),
            sees=("error",),
            loses="question",
        )
        for code in FATAL
    ),
    Row(
        "error model_not_found, the only one",
        THINKING,
        "the only model is gone in the middle",
        error("model_not_found"),
        PERSON,
        hears=("said_model_not_found",),
        sees=("error",),
        loses="question",
    ),
    Row("error session_expired", THINKING, "the session is over", error("session_expired"), ITSELF),
    Row("error server_error", THINKING, "the server fails", error("server_error", kind="server_error"), ITSELF),
    Row("error nobody knows", THINKING, "a code that is not in any list", error("brand_new_trouble"), ENDURED),
)

MODELS = (
    Row(
        "upgrade 404, and another model",
        ASKED,
        "two of the profile's three models are gone",
        script(models_gone=("gpt-realtime-1.5", "gpt-realtime-2")),
        ENDURED,
        profile="listed",
        cold=True,
    ),
    Row(
        "error model_not_found, and another model",
        THINKING,
        "the model goes in the middle, the profile has others",
        error("model_not_found"),
        ITSELF,
        profile="listed",
    ),
    Row(
        "mint 404, and another model",
        ASKED,
        "the provider mints nothing for the profile's first model",
        several(lambda at: at.town.provider.script.append(Answer.failure(404, "model_not_found")), cut(provider)),
        ENDURED,
        profile="provider",
    ),
)
ROWS: tuple[Row, ...] = (*CLOSES, *UPGRADES, *ERRORS, *MODELS)
