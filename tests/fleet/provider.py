"""The fake provider in a process of its own: prints its address, answers after 200 ms, ends with its stdin."""

from __future__ import annotations

import sys

from tests.bench.report import say
from tests.fakes.upstream import Answer, FakeUpstream

PROVIDER_MS = 200

if __name__ == "__main__":
    with FakeUpstream() as upstream:
        upstream.usual = Answer(delay_s=PROVIDER_MS / 1000)
        say(upstream.url)
        sys.stdin.read()
