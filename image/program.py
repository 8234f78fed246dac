"""Our program as the image has it: the locked packages for the image's Python, and our own wheel, compiled.

Responsible for: fetching what the locks name and nothing else, making wheels of the three that have none, laying
them out as the virtual environment that the units name, bytecode. Not for: Debian's packages (``rootfs``).

lgpio, pyalsaaudio and systemd-python have no wheel for Python 3.13 on arm64: they are made from their locked sources,
in a tree with Debian's own compiler, through qemu-user. Everything else is fetched ready-made.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from image import mirrors, rootfs
from image.profile import FOLDER, PYTHON, Base, ImageError

REPOSITORY = FOLDER.parent
LOCK = REPOSITORY / "locks" / "image.txt"
BACKEND_LOCK = REPOSITORY / "locks" / "build.txt"
MADE_HERE = ("lgpio", "pyalsaaudio", "systemd-python")
PLACE = Path("opt/voice-appliance")
COMMANDS = {"voice-appliance": "appliance.cli"}
FOREIGN = [
    "--platform", "manylinux_2_28_aarch64", "--platform", "manylinux_2_17_aarch64", "--platform", "linux_aarch64",
    "--python-version", PYTHON, "--implementation", "cp", "--only-binary", ":all:",
]  # fmt: skip


def split(lock: str) -> tuple[str, str]:
    """Part a lock into what is fetched ready-made and what is made here."""
    entries = re.split(r"(?m)^(?=[a-z0-9])", lock)
    made = [entry for entry in entries if re.split("[=<> ]", entry)[0] in MADE_HERE]
    return "".join(entry for entry in entries if entry not in made), "".join(made)


def packages(base: Base, cache: Path, *, epoch: int, fresh: bool = False) -> Path:
    """Lay out the locked packages as a folder of modules in ``cache``, compiled; returns it.

    Raises:
        ImageError: a package could not be had or made.
    """
    done = cache / f"python-{key(base)}"
    if done.exists() and not fresh:
        return done
    log = cache / "python.log"
    work = _emptied(cache / "python.half")
    (work / "wheels").mkdir()
    fetched, made = split(LOCK.read_text("utf-8"))
    (work / "fetched.txt").write_text(fetched)
    (work / "made.txt").write_text(made)
    here = ["--no-deps", "--require-hashes", "--quiet"]
    _pip(["download", *here, *FOREIGN, "-d", str(work / "wheels"), "-r", str(work / "fetched.txt")], log, epoch)
    sources = ["--no-binary", ":all:", "--no-build-isolation", "-d", str(work / "sources")]
    _pip(["download", *here, *sources, "-r", str(work / "made.txt")], log, epoch)
    tools = chroot(base, cache, epoch=epoch)
    _make_wheels(tools, work, log, epoch)
    _lay_out(sorted((work / "wheels").glob("*.whl")), work / "modules", log, epoch)
    compile_in(tools, work / "modules", log, epoch)
    if done.exists():
        shutil.rmtree(done)
    (work / "modules").rename(done)
    shutil.rmtree(work)
    return done


def key(base: Base) -> str:
    """Hash everything that the locked packages, laid out, depend on."""
    how = "".join(inspect.getsource(step) for step in (_make_wheels, _lay_out, compile_in))
    return hashlib.sha256((LOCK.read_text("utf-8") + repr((base.building, FOREIGN)) + how).encode()).hexdigest()[:16]


def chroot(base: Base, cache: Path, *, epoch: int) -> Path:
    """Unpack Debian's compiler and Python for arm64 in ``cache``; nothing of it is configured, nor in the image."""
    done = cache / f"tools-{hashlib.sha256(repr((base.building, base.sources)).encode()).hexdigest()[:16]}"
    if not done.exists():
        half = _emptied(cache / "tools.half")
        call = rootfs.command(base.building, mirrors.lines(base.sources, mirrors.known()), half, variant="extract")
        rootfs.run(
            [part.replace("--format=tar", "--format=directory") for part in call], cache / "python.log", epoch=epoch
        )
        half.rename(done)
    return done


def ours(tools: Path, into: Path, cache: Path, *, epoch: int) -> None:
    """Add our own package, compiled, to the folder of modules ``into``.

    Raises:
        ImageError: it could not be built.
    """
    log = cache / "python.log"
    work = _emptied(cache / "ours.half")
    backend = ["--no-deps", "--require-hashes", "--quiet", "--target", str(work / "backend"), "-r", str(BACKEND_LOCK)]
    _pip(["install", *backend], log, epoch)
    build = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(work), str(REPOSITORY)]
    _pip(build, log, epoch, {"PYTHONPATH": str(work / "backend")})
    _lay_out(sorted(work.glob("*.whl")), work / "modules", log, epoch)
    compile_in(tools, work / "modules", log, epoch)
    shutil.copytree(work / "modules", into, dirs_exist_ok=True, symlinks=True)
    shutil.rmtree(work)


def environment(root: Path, modules: Path) -> Path:
    """Lay out the virtual environment that the units name, around a copy of ``modules``; returns the copy's place."""
    place = root / PLACE
    into = place / "lib" / f"python{PYTHON}" / "site-packages"
    shutil.copytree(modules, into, symlinks=True)
    (place / "bin").mkdir()
    (place / "bin/python3").symlink_to(f"/usr/bin/python{PYTHON}")
    (place / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n")
    for name, module in COMMANDS.items():
        script = place / "bin" / name
        script.write_text(f"#!/{PLACE}/bin/python3\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n")
        script.chmod(0o755)
    return into


def _make_wheels(tools: Path, work: Path, log: Path, epoch: int) -> None:
    place = _emptied(tools / "work")
    for source in sorted((work / "sources").iterdir()):
        shutil.unpack_archive(source, place)
        folder = source.name.removesuffix(".tar.gz")
        # PYPI=1: lgpio brings its C library inside the module.
        settings = [f"--chdir=/work/{folder}", "PYPI=1", "PYTHONHASHSEED=0", "CC=gcc -ffile-prefix-map=/work=."]
        build = "from setuptools import build_meta; build_meta.build_wheel('/work')"
        inside(tools, ["env", *settings, "python3", "-c", build], log, epoch)
    for path in sorted(place.glob("*.whl")):
        shutil.copy(path, work / "wheels")
    shutil.rmtree(place)


def _lay_out(wheels: Sequence[Path], into: Path, log: Path, epoch: int) -> None:
    target = [
        "install",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--quiet",
        "--ignore-requires-python",
        *FOREIGN,
        "--target",
        str(into),
    ]
    _pip([*target, *(str(path) for path in wheels)], log, epoch)
    shutil.rmtree(into / "bin", ignore_errors=True)  # their commands name this machine's Python


def compile_in(tools: Path, modules: Path, log: Path, epoch: int) -> None:
    """Compile ``modules`` with the image's own Python; by hash, not time: the same source gives the same bytes."""
    place = tools / "work"
    shutil.copytree(modules, place, symlinks=True)
    shown = f"/{PLACE}/lib/python{PYTHON}/site-packages"
    call = ["env", "PYTHONHASHSEED=0", "python3", "-m", "compileall", "-q", "-x", r"/tests?/",
            "--invalidation-mode", "unchecked-hash", "-s", "/work", "-p", shown, "/work"]  # fmt: skip
    inside(tools, call, log, epoch)
    shutil.rmtree(modules)
    shutil.move(place, modules)


def inside(tools: Path, call: Sequence[str], log: Path, epoch: int) -> None:
    """Run a program of the arm64 tree ``tools``."""
    rootfs.run(["chroot", str(tools), *call], log, epoch=epoch)


def _pip(arguments: Sequence[str], log: Path, epoch: int, more: dict[str, str] | None = None) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(more or {})}
    with log.open("ab") as sink:
        done = subprocess.run(
            [sys.executable, "-m", "pip", *arguments], env=environment, stdout=sink, stderr=sink, check=False
        )
    if done.returncode:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-8:])
        raise ImageError(f"pip {arguments[0]} failed:\n{tail}\nhint: all of it is in {log}")


def _emptied(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
