"""Measures a fleet: a herd after an outage in virtual time, and mints under load on loopback, a replica killed.

Run ``python -m tests.fleet`` (about four minutes) or ``--quick`` (proof that it works, not figures).
Responsible for: the programme and the choice of what is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from appliance.provisioning import abandoned
from appliance.provisioning.settings import Store
from tests.bench.report import machine, median, percentile, say
from tests.fleet.clients import Result, Wishes
from tests.fleet.herd import SHARE, Incident, Outcome, compare
from tests.fleet.load import Books, Deployment, add_replica, audit, deployment, process
from tests.fleet.provider import PROVIDER_MS
from tests.provisioning import postgres


@dataclass(frozen=True)
class Programme:
    """How much of everything."""

    herd: Incident
    devices: int
    runs: int
    mints: int  # a run
    in_flight: int
    paced_per_s: float
    paced: int
    kills: int
    kill_after_s: float


FULL = Programme(
    herd=Incident(seconds=900),
    devices=200,
    runs=3,
    mints=600,
    in_flight=100,
    paced_per_s=50.0,
    paced=500,
    kills=2,
    kill_after_s=1.5,
)
QUICK = Programme(
    herd=Incident(devices=1000, capacity_per_s=12, seconds=900),
    devices=20,
    runs=1,
    mints=60,
    in_flight=20,
    paced_per_s=20.0,
    paced=40,
    kills=1,
    kill_after_s=0.5,
)


def tell_herd(incident: Incident, ours: Outcome, long: Outcome, naive: Outcome) -> None:
    """Print the simulation."""
    say(
        f"herd: {incident.devices} refused in one moment, a service of {incident.capacity_per_s}/s grants again "
        f"at once, {incident.pressing:.0%} press within 10 min; virtual time, the product's own rules and pacing"
    )
    for prefix, found in (("", ours), ("naive_", naive), ("long_outage_", long)):
        scale = incident.devices / found.devices
        say(f"{prefix}requests_per_device: {found.requests_per_device:.3f}")
        say(f"{prefix}herd_peak_per_s: {found.peak_per_s * scale:.0f}")
        say(f"{prefix}herd_p99_served_s: {found.p99_served_s:.1f} s")
        say(f"{prefix}herd_not_served: {(found.devices - found.served) * scale:.0f}")
    say(
        f"naive: asks at once and again whenever Retry-After is over; long_outage: 30 min of refusals first; "
        f"both with a {SHARE}th of devices and capacity, rates scaled up"
    )


async def measure(made: Deployment, name: str, programme: Programme) -> None:
    """Throughput and own time of one deployment."""
    warm = await made.wish(Wishes(programme.devices, in_flight=min(20, programme.devices)))
    say(f"{name}_requests_per_first_mint: {warm[0].requests / len(warm[0].grants):.2f}")
    runs = [await made.wish(Wishes(programme.mints, in_flight=programme.in_flight)) for _ in range(programme.runs)]
    cpu_ms = median([each for _, each in runs])
    say(f"mints_per_s_{name}: {median([len(result.grants) / result.wall_s for result, _ in runs]):.0f}")
    tell_times(f"mint_{name}", [grant.took_ms for result, _ in runs for grant in result.grants])
    say(f"mint_cpu_ms_{name}: {cpu_ms:.2f} ms")
    say(f"mints_per_s_and_core_{name}: {1000 / cpu_ms:.0f}")
    say(f"client_cpu_ms_{name}: {median([r.cpu_s * 1000 / len(r.grants) for r, _ in runs]):.2f} ms")
    paced, _ = await made.wish(Wishes(programme.paced, per_s=programme.paced_per_s))
    own = [grant.took_ms - PROVIDER_MS for grant in paced.grants]
    prefix = "mint_own" if name == "sqlite" else f"mint_own_{name}"
    tell_times(prefix, own)


async def measure_alone(made: Deployment, name: str, programme: Programme) -> None:
    """The service's own time, without a call to a provider."""
    await made.wish(Wishes(programme.devices, in_flight=min(20, programme.devices)))
    order = Wishes(programme.mints, in_flight=programme.in_flight)
    cpu_ms = median([each for _, each in [await made.wish(order) for _ in range(programme.runs)]])
    say(f"mint_cpu_ms_{name}_without_provider: {cpu_ms:.2f} ms")
    say(f"mints_per_s_and_core_{name}_without_provider: {1000 / cpu_ms:.0f}")


def tell_times(prefix: str, values: list[float]) -> None:
    """Print median and 99th percentile."""
    say(f"{prefix}_p50_ms: {percentile(values, 50):.1f} ms")
    say(f"{prefix}_p99_ms: {percentile(values, 99):.1f} ms")


async def kill(made: Deployment, stack: contextlib.AsyncExitStack, programme: Programme, log: Path) -> None:
    """Replicas are killed in the midst of load, and replaced."""
    for number in range(programme.kills):
        order = Wishes(programme.mints, in_flight=programme.in_flight)
        result = await made.wish_and_kill(order, programme.kill_after_s)
        say(f"kill_{number + 1}_asked_again: {result.asked_again}")
        await add_replica(stack, made, log)


async def settled(made: Deployment) -> Books:
    """The books, when the last abandoned attempt was told apart, or should have been."""
    until_s = time.monotonic() + abandoned.AFTER_MS / 1000 + 2 * abandoned.EVERY_S
    while True:
        books = await asyncio.to_thread(audit, made)
        if not books.pending or time.monotonic() > until_s:
            return books
        await asyncio.sleep(1.0)


@contextlib.contextmanager
def postgres_stores(directory: Path) -> Iterator[tuple[Store, Store]]:
    """A PostgreSQL of our own, with two empty databases."""
    with postgres.running() as server:
        password_file = directory / "database.password"
        password_file.write_text(postgres.PASSWORD + "\n")
        password_file.chmod(0o600)
        one, two = (Store(url=server.url(server.create()), password_file=password_file) for _ in range(2))
        yield one, two


def tell_books(books: list[Books], results: list[Result]) -> None:
    """Print what the databases say against what the clients got."""
    grants = sum(len(result.grants) for result in results)
    say(f"mints_checked: {grants}")
    say(f"mints_lost: {sum(each.lost for each in books)}")
    say(f"mints_doubled: {sum(each.doubled for each in books)}")
    say(f"mints_repeated: {sum(each.repeated for each in books)}")
    say(f"mints_abandoned: {sum(each.abandoned for each in books)}")
    say(f"mints_pending: {sum(each.pending for each in books)}")
    say(f"requests_per_success: {sum(result.requests for result in results) / grants:.3f}")


def main() -> None:
    """Run the programme."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a proof that it works, not figures")
    programme = QUICK if parser.parse_args().quick else FULL
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="voice-fleet-") as directory, postgres_stores(Path(directory)) as stores:
        asyncio.run(run(programme, Path(directory), *stores))
    say(
        machine(
            f"{programme.runs} runs of {programme.mints} mints, {programme.in_flight} in flight, medians", load_before
        )
    )


async def run(programme: Programme, directory: Path, store: Store, another: Store) -> None:
    """All of it; the simulation comes after the kills, while what they left behind grows old enough to be settled."""
    loop = asyncio.get_running_loop()
    log = directory / "log"
    async with contextlib.AsyncExitStack() as stack:
        provider = await stack.enter_async_context(process("tests.fleet.provider", log=log))
        async with deployment(
            directory / "sqlite", provider.first, store=None, replicas=1, devices=programme.devices
        ) as one:
            await measure(one, "sqlite", programme)
            books = [await asyncio.to_thread(audit, one)]
        for name, alone in (("sqlite", None), ("postgres", another)):
            async with deployment(
                directory / f"{name}-alone", "", store=alone, replicas=1, devices=programme.devices
            ) as made:
                await measure_alone(made, name, programme)
        many = await stack.enter_async_context(
            deployment(directory / "postgres", provider.first, store=store, replicas=2, devices=programme.devices)
        )
        await measure(many, "postgres", programme)
        await kill(many, stack, programme, log)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            tell_herd(programme.herd, *await loop.run_in_executor(pool, compare, programme.herd))
        books.append(await settled(many))
        tell_books(books, [*one.results[1:], *many.results[1:]])


if __name__ == "__main__":
    main()
