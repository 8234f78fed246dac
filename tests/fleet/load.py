"""The real service under load: replicas in processes of their own, the fleet in another, the provider in a third.

Responsible for: starting and ending them, killing a replica in the midst, and holding what clients got against what the
database says. Not for: the clients (``clients``), and what is printed (``__main__``).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from appliance.provisioning.settings import Store
from tests.fleet.balancer import Balancer
from tests.fleet.clients import Enrol, Got, Result, Wishes
from tests.provisioning import running
from tests.provisioning.running import Running

# More than any device here asks for, and yet counted: the charge is what must not be lost or doubled.
LIMITS = "[profiles.default.limits]\nper_minute = 6000\nburst = 600\nper_day = 100000\n"
# A secret without a call to anybody: what is left of a mint is the service's own.
STATIC = (
    '[profiles.default]\nkind = "static"\nurl = "ws://127.0.0.1:9/v1/realtime"\nmodel = "none"\nkey = "static-key"\n'
)
READY_S = 30.0
ORDER_S = 120.0


@dataclass
class Process:
    """One of the processes; ``first`` is the first line it said."""

    child: asyncio.subprocess.Process
    first: str

    def cpu_s(self) -> float:
        """Processor time of all its threads so far."""
        return time.clock_gettime((~self.child.pid << 3) | 2)  # clock_getcpuclockid(3)

    async def kill(self) -> None:
        self.child.kill()
        await self.child.wait()

    async def order(self, order: Enrol | Wishes) -> bytes:
        """Gives the clients an order, and waits for their answer."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(msgspec.json.encode(order) + b"\n")
        async with asyncio.timeout(ORDER_S):
            return await self.child.stdout.readline()


@contextlib.asynccontextmanager
async def process(*words: str, log: Path, speaks: bool = True) -> AsyncIterator[Process]:
    """A Python program of ours for the block; with ``speaks`` it is waited for until it has said something."""
    with log.open("ab") as file:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=file,
            limit=64 * 1024 * 1024,  # an answer of the clients is one line
        )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(READY_S):
            first = (await child.stdout.readline()).decode().strip() if speaks else ""
        yield Process(child, first)
    finally:
        if child.returncode is None:
            child.terminate()
            try:
                async with asyncio.timeout(READY_S):
                    await child.wait()
            except TimeoutError:
                child.kill()
        await child.wait()


@contextlib.contextmanager
def chosen(store: Store | None) -> Iterator[None]:
    """Makes `running.make_data` write the store into server.toml."""
    if store is not None:
        running.CHOSEN.append(store)
    try:
        yield
    finally:
        if store is not None:
            running.CHOSEN.pop()


def enrolment_token(data: Path, uses: int) -> str:
    """A token by the command, as an owner makes one."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert running.command("tokens", "create", "--data", str(data), "--quiet", "--uses", str(uses)) == 0
    return said.getvalue().strip()


@dataclass
class Deployment:
    """A service over one store: its replicas behind the balancer, and the fleet that is enrolled there."""

    data: Path
    clients: Process
    balancer: Balancer
    replicas: list[Process] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    wishes: int = 0

    def cpu_s(self) -> float:
        return sum(replica.cpu_s() for replica in self.replicas)

    async def wish(self, order: Wishes) -> tuple[Result, float]:
        """Have the fleet mint; returns what it got and the replicas' processor milliseconds for each grant."""
        began_s = self.cpu_s()
        result = await self._wish(order)
        return result, (self.cpu_s() - began_s) * 1000 / max(1, len(result.grants))

    async def _wish(self, order: Wishes) -> Result:
        result = msgspec.json.decode(await self.clients.order(order), type=Result)
        self.results.append(result)
        self.wishes += order.count
        return result

    async def wish_and_kill(self, order: Wishes, after_s: float) -> Result:
        """The same, with one replica killed (SIGKILL) in the midst."""
        asking = asyncio.create_task(self._wish(order))
        await asyncio.sleep(after_s)
        victim = self.replicas.pop(0)
        await victim.kill()
        self.balancer.ports = [_port(replica) for replica in self.replicas]
        return await asking


def _port(replica: Process) -> int:
    return int(replica.first.rsplit(":", 1)[1])


@contextlib.asynccontextmanager
async def deployment(
    directory: Path, provider_url: str, *, store: Store | None, replicas: int, devices: int
) -> AsyncIterator[Deployment]:
    """A service with its fleet for the block; without a provider's address its secrets are a fixed key."""
    fleet = directory / "fleet"
    await asyncio.to_thread(fleet.mkdir, parents=True)
    balancer = Balancer()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(balancer.listening())
        data = await asyncio.to_thread(_prepare, directory, provider_url, balancer.url, store)
        token = await asyncio.to_thread(enrolment_token, data, devices)
        log = directory / "log"
        clients = await stack.enter_async_context(process("tests.fleet.clients", str(fleet), log=log, speaks=False))
        made = Deployment(data, clients, balancer)
        for _ in range(replicas):
            await add_replica(stack, made, log)
        assert await clients.order(Enrol(balancer.url, token, devices)) == b"{}\n", f"the fleet cannot enrol: see {log}"
        yield made


def _prepare(directory: Path, provider_url: str, issuer: str, store: Store | None) -> Path:
    with chosen(store):
        data = running.make_data(directory, provider_url or "http://127.0.0.1:9", LIMITS)
    config = data / "server.toml"
    before, default, after = config.read_text().partition("[profiles.default]\n")
    if not provider_url:
        default, after = STATIC, after[after.index(LIMITS) :]
    config.write_text(f'issuer = "{issuer}"\n{before}{default}{after}')
    return data


async def add_replica(stack: contextlib.AsyncExitStack, made: Deployment, log: Path) -> None:
    """One more ``voice-provisioning serve`` behind the balancer."""
    words = ("appliance.provisioning.cli", "serve", "--data", str(made.data), "--port", "0")
    replica = await stack.enter_async_context(process(*words, log=log))
    assert replica.first, f"a replica does not start: see {log}"
    made.replicas.append(replica)
    made.balancer.ports = [_port(each) for each in made.replicas]


@dataclass(frozen=True)
class Books:
    """What clients got against what the database says."""

    lost: int  # wishes that came to nothing, and grants that no row stands for
    doubled: int  # sessions given twice, keys with two sessions, sessions charged twice or charged for nothing
    repeated: int  # sessions of several grants, because the first one's answer was lost
    pending: int
    abandoned: int


def audit(made: Deployment) -> Books:
    """Holds both against each other."""
    query = Running("", made.data).query
    rows = query("select device_id, idempotency_key, session_id, outcome, secret_sha256_prefix from mints")
    grants = [grant for result in made.results for grant in result.grants]
    minted = {(row[0], row[2], row[4]) for row in rows if row[3] == "minted"}
    lost = made.wishes - len(grants) + sum(_noted(grant) not in minted for grant in grants)
    sessions = Counter(grant.session_id for grant in grants)
    of_key: dict[tuple[str, str], set[str]] = {}
    for device_id, key, session_id, _outcome, _prefix in rows:
        of_key.setdefault((device_id, key), set()).add(session_id)
    used = Counter(device_id for device_id, _ in {(device_id, session_id) for device_id, session_id, _ in minted})
    charged = dict(query("select device_id, sessions from allowances"))
    doubled = sum(times - 1 for times in sessions.values())
    doubled += sum(len(found) - 1 for found in of_key.values())
    doubled += sum(abs(charged[device_id] - used[device_id]) for device_id in charged)
    outcomes = Counter(row[3] for row in rows)
    return Books(
        lost=lost,
        doubled=doubled,
        repeated=len(minted) - len({session_id for _, session_id, _ in minted}),
        pending=outcomes["pending"],
        abandoned=outcomes["abandoned"],
    )


def _noted(grant: Got) -> tuple[str, str, str]:
    return grant.device_id, grant.session_id, hashlib.sha256(grant.secret.encode()).hexdigest()[:16]
