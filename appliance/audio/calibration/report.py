"""A finding in lines for a person, each with what to do where something is wrong.

Responsible for: the words of ``voice-appliance calibrate``. Not for: the verdict (``loop``).
"""

from __future__ import annotations

from appliance.audio.loop import CLIPPED_SAMPLES, DISTORTION_DB, ERLE_DB, LOUDEST_DBFS, REACH_MS, Loop, Microphone


def report(loop: Loop) -> list[str]:
    """Put the finding into lines."""
    lines = [_line("noise floor", loop.noise_dbfs, "dBFS")]
    if loop.delay_ms is None:
        lines.append("echo              not heard")
    else:
        lines += _echo(loop)
    lines.append(
        _line("clipped samples", loop.clipped_samples, "")
        + _if(loop.clipped_samples >= CLIPPED_SAMPLES, "turn the volume or the microphone's gain down")
    )
    losses = f"{loop.overruns:8d}, underruns {loop.underruns}"
    lines.append(
        f"{'overruns':<17} {losses}"
        + _if(loop.overruns + loop.underruns > 0, "is the machine busy with something else?")
    )
    return lines + [_channel(mic) for mic in loop.microphones if len(loop.microphones) > 1 or mic.dead]


def _echo(loop: Loop) -> list[str]:
    assert loop.delay_ms is not None
    lines = [_line("round trip", loop.delay_ms, "ms") + _if(loop.delay_ms > REACH_MS, "too late to be cancelled")]
    if loop.echo_dbfs is not None and loop.return_loss_db is not None and loop.loudest_dbfs is not None:
        lines += [
            _line("echo", loop.echo_dbfs, "dBFS"),
            _line("return loss", loop.return_loss_db, "dB: how much softer it is than what was played"),
            _line("loudest echo", loop.loudest_dbfs, "dBFS: of a full-scale sound at this volume")
            + _if(loop.loudest_dbfs > LOUDEST_DBFS, "turn the microphone's gain down"),
        ]
    if loop.erle_db is not None:
        lines.append(
            _line("echo cancelled", loop.erle_db, f"dB ({loop.canceller})") + _if(loop.erle_db < ERLE_DB, "too little")
        )
    if loop.distortion_db is not None:
        lines.append(
            _line("distortion", loop.distortion_db, "dB")
            + _if(loop.distortion_db > DISTORTION_DB, "turn the volume down, or was somebody talking?")
        )
    return lines


def _channel(mic: Microphone) -> str:
    name = f"channel {mic.channel}"
    if mic.dead:
        return f"{name:<17} delivers nothing: muted, not connected, or no microphone ([audio] microphones)"
    echo = "echo not heard" if mic.echo_dbfs is None else f"echo {mic.echo_dbfs:.1f} dBFS"
    return f"{name:<17} noise {mic.noise_dbfs:.1f} dBFS, {echo}, {mic.clipped_samples} samples clipped"


def _line(name: str, value: float, unit: str) -> str:
    shown = f"{value:8d}" if isinstance(value, int) else f"{value:8.1f}"
    return f"{name:<17} {shown} {unit}".rstrip()


def _if(wrong: bool, remedy: str) -> str:
    return f": {remedy}" if wrong else ""
