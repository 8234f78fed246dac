"""Numbers for Prometheus, on a loopback listener of their own: nobody outside learns how busy the fleet is.

Loaded only when ``[metrics] listen`` is configured.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from appliance.errors import ConfigError
from appliance.provisioning.admission import Admission

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 15)


class Metrics:
    """What one process counts. Labels are codes of ours, never devices: their number must not grow."""

    def __init__(self, admission: Admission) -> None:
        self.registry = CollectorRegistry()
        self._mints = Counter(
            "voice_provisioning_sessions", "Sessions asked for, by outcome", ["outcome"], registry=self.registry
        )
        self._seconds = Histogram(
            "voice_provisioning_session_seconds",
            "From a request for a session to its answer",
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        in_hand = Gauge("voice_provisioning_requests_in_hand", "Requests being answered", registry=self.registry)
        in_hand.set_function(lambda: admission.in_hand)
        turned_away = Gauge(
            "voice_provisioning_requests_turned_away",
            "Requests refused at the door since the start",
            registry=self.registry,
        )
        turned_away.set_function(lambda: admission.turned_away)

    def observe(self, outcome: str, seconds: float) -> None:
        """Counts one request for a session."""
        self._mints.labels(outcome).inc()
        self._seconds.observe(seconds)


class Listener:
    """Serves the numbers from a thread of its own until it is closed."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        try:
            self._server, self._thread = start_http_server(port, host, metrics.registry)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host} port {port} for metrics ({error.strerror})", hint="change metrics.listen"
            ) from error
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
