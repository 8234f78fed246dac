"""The owner's configuration in the terms of the parts: settings of the conversation, wishes for the session, gain.

Responsible for: that translation. Not for: reading or checking the configuration (``config``).
"""

from __future__ import annotations

from appliance.config import DEFAULT, Config, Loaded
from appliance.conversation.state import Settings, Turns
from appliance.realtime.configuration import Wishes
from appliance.realtime.session import AGEING, OLD, Timing


def settings_of(loaded: Loaded) -> Settings:
    """Translate the configuration for the conversation."""
    talk, realtime = loaded.config.conversation, loaded.config.realtime
    return Settings(
        turns=Turns.LOCAL if realtime.turn_detection == "local" else Turns.SERVER,
        hold_ms=talk.hold_ms,
        follow_up_s=talk.follow_up_s,
        hands_free=talk.hands_free,
        full_duplex=not half_duplex_reason(loaded),
        listen_s=talk.listen_s,
        think_s=talk.think_s,
        keep_warm_s=realtime.keep_warm_s,
    )


def half_duplex_reason(loaded: Loaded) -> str:
    """Say why a voice cannot interrupt a reply as this is configured; empty where it can."""
    if not loaded.config.conversation.barge_in:
        return "conversation.barge_in = false"
    if loaded.config.audio.echo_canceller == "none" and loaded.board.aec != "hardware":
        return 'audio.echo_canceller = "none", and the board cancels no echo'
    return ""


def canceller_of(loaded: Loaded) -> str:
    """Name the echo canceller of ours that is used: none behind a board that has its own."""
    return "none" if loaded.board.aec == "hardware" else loaded.config.audio.echo_canceller


def wishes_of(loaded: Loaded, tools: tuple[dict[str, object], ...]) -> Wishes:
    """Translate the configuration for the session."""
    asked, prefix = loaded.config.realtime, "realtime."
    own = (key for key, origin in loaded.origin.items() if key.startswith(prefix) and origin != DEFAULT)
    return Wishes(
        model=asked.model,
        voice=asked.voice,
        instructions=asked.instructions,
        turn_detection=asked.turn_detection,
        output=asked.output,
        speed=asked.speed,
        noise_reduction=asked.noise_reduction,
        captions=asked.captions,
        max_output_tokens=asked.max_output_tokens,
        tools=tools,
        own=frozenset(key.removeprefix(prefix) for key in own),
    )


def timing_of(config: Config) -> Timing:
    """Translate the configuration for the transport."""
    asked = config.realtime
    return Timing(
        open_s=asked.open_timeout_s,
        ping_interval_s=asked.ping_interval_s,
        ping_timeout_s=asked.ping_timeout_s,
        ageing_s=asked.session_limit_s * AGEING,
        old_s=asked.session_limit_s * OLD,
    )


def gain_of(percent: int) -> float:
    """Make a volume in percent a factor: a square law is near to how loudness is felt."""
    return (percent / 100) ** 2


def hold_ms_of(config: Config) -> int:
    """Say when a press is known to be a hold: a terminal tells a tap from a hold only later than a button."""
    if config.panel.backend == "terminal":
        from appliance.panel.terminal import HOLD_MS

        return HOLD_MS
    return config.conversation.hold_ms
