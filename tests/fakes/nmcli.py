"""A ``nmcli`` that records what it is called with, and lets in whom it is told to. No Wi-Fi is touched."""

from __future__ import annotations

from pathlib import Path

OURS = "70a1ce00-0000-4000-8000-0000000005e7"
SCRIPT = """#!/bin/sh
printf '%s\\n' "$*" >> {folder}/calls
case "$*" in
  *"device wifi list"*) cat {folder}/names ;;
  *GENERAL.DEVICES*) echo {device} ;;
  *"connection up uuid"*)
    if grep -qs "${{6}}" {folder}/refused; then
      echo "Error: Connection activation failed: Secrets were required, but not provided." >&2; exit 4
    fi
    echo "${{6}}" >> {folder}/up ;;
esac
"""


class FakeNmcli:
    """The program, and what was done with it. As a machine without Wi-Fi it refuses :data:`OURS`."""

    def __init__(self, folder: Path, inside: str = "", device: str = "wlan0") -> None:
        """``inside`` is where whoever runs it finds ``folder``, if not there."""
        self._folder = folder
        folder.mkdir(parents=True)
        self.program = str(folder / "nmcli")
        Path(self.program).write_text(SCRIPT.format(folder=inside or folder, device=device))
        Path(self.program).chmod(0o755)
        self.around()
        self.refuses()

    def around(self, *names: str) -> None:
        """Name the Wi-Fis around, the strongest first."""
        escaped = (name.replace("\\", "\\\\").replace(":", "\\:") for name in names)
        (self._folder / "names").write_text("".join(f"{name}\n" for name in escaped))

    def refuses(self, *numbers: str) -> None:
        """Let nobody in by these connections."""
        (self._folder / "refused").write_text("".join(f"{number}\n" for number in numbers))

    def calls(self) -> list[str]:
        """What it was called with, one call a line, without the patience."""
        path = self._folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split(" ", 2)[2] for line in lines]

    def up(self) -> list[str]:
        """The connections that came up, in order."""
        path = self._folder / "up"
        return path.read_text().splitlines() if path.exists() else []
