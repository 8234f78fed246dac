"""A machine with a Wi-Fi that is none, and the set-up page of it, really served on loopback."""

from __future__ import annotations

import http.client
import re
import threading
import urllib.parse
from pathlib import Path
from typing import Self

from appliance.errors import ApplianceError
from appliance.hotspot.radio import Radio
from appliance.hotspot.session import Session
from tests.fakes.nmcli import FakeNmcli
from tests.first_boot.machine import Machine

PASSWORD = "314159265358"
SOON_S = 20.0


class House:
    """Runs a session in a thread. A context: whatever happens, it is over at its end."""

    def __init__(self, root: Path) -> None:
        self.machine = Machine(root / "machine")
        (self.machine.root / "proc/sys/net/ipv4/conf/wlan0").mkdir(parents=True)
        self.nmcli = FakeNmcli(root / "nmcli")
        self.wished, self.now_s = True, 0.0
        self.failures: list[int] = []
        self._open = threading.Semaphore(0)
        self.done: bool | ApplianceError | None = None
        self.session = Session(
            self.machine.places,
            Radio(self.machine.root, self.nmcli.program),
            "kitchen setup",
            PASSWORD,
            lambda: self.wished,
            self.failures.append,
            opened=self._open.release,
            address=("127.0.0.1", 0),
            user=None,
            clock=lambda: self.now_s,
            linger_s=0.2,
        )
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.done = self.session.run()
        except ApplianceError as error:
            self.done = error
        self._open.release()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wished = False
        self.ended()

    def opened(self) -> None:
        """Wait until the page is there (again)."""
        assert self._open.acquire(timeout=SOON_S)

    def ended(self) -> bool | ApplianceError | None:
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()
        return self.done

    @property
    def host(self) -> str:
        return "{}:{}".format(*self.session.address)

    def request(
        self, method: str, path: str = "/", body: str | bytes = b"", **headers: str
    ) -> tuple[http.client.HTTPResponse, str]:
        link = http.client.HTTPConnection(*self.session.address, timeout=SOON_S)
        try:
            link.request(method, path, body=body or None, headers={"Host": self.host, **headers})
            answer = link.getresponse()
            return answer, answer.read().decode()
        finally:
            link.close()

    def mark(self) -> str:
        found = re.search('name="csrf" value="([^"]+)"', self.request("GET")[1])
        assert found
        return found[1]

    def post(self, fields: dict[str, str], **headers: str) -> tuple[int, str]:
        body = urllib.parse.urlencode({"csrf": self.mark(), **fields})
        answer, text = self.request("POST", "/", body, **headers)
        return answer.status, text
