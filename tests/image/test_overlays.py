"""Device tree overlays of ours compile, say what they mean, and every board's line names one that is somewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from appliance import board
from appliance.first_boot import lines
from image import assembly, profile
from image.profile import Boot, ImageError
from tests.boards_page import shipped

# In Raspberry Pi's kernel (raspberrypi/linux, arch/arm/boot/dts/overlays), which an image with KERNEL=rpi has.
PIS_OWN = {"googlevoicehat-soundcard", "rpi-codeczero", "wm8960-soundcard"}
SOURCES = sorted(assembly.OVERLAYS.glob("*.dts"))
# What a Pi's own device tree has of what they refer to.
BASE = """/dts-v1/;
/ {
  compatible = "raspberrypi,4-model-b", "brcm,bcm2711";
  #address-cells = <1>;
  #size-cells = <1>;
  soc { #address-cells = <1>; #size-cells = <1>;
    i2c1: i2c@1000 { reg = <0x1000 0x100>; status = "disabled"; };
    i2s_clk_consumer: i2s@2000 { reg = <0x2000 0x100>; #sound-dai-cells = <0>; status = "disabled"; };
  };
  sound: sound { status = "disabled"; };
};
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The overlays, as a build makes them."""
    folder = tmp_path_factory.mktemp("overlays")
    assembly.overlays(folder, folder / "log", epoch=0)
    assert (folder / "log").read_text() == "", "not even a warning"
    return folder


def get(tree: Path, node: str, name: str, kind: str = "s") -> str:
    command = ["fdtget", "-t", kind, str(tree), node, name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("name", "codec", "compatible", "hertz", "inputs"),
    [
        ("respeaker-2mic-v1", "codec@1a", "wlf,wm8960", 24_000_000, ("LINPUT1", "RINPUT1")),
        ("respeaker-2mic-v2", "codec@18", "ti,tlv320aic3104", 24_576_000, ("LINE1L", "LINE1R")),
    ],
)
def test_merged_into_a_pis_tree_it_is_a_card_whose_codec_makes_the_clocks(
    made: Path, tmp_path: Path, name: str, codec: str, compatible: str, hertz: int, inputs: tuple[str, ...]
) -> None:
    (tmp_path / "base.dts").write_text(BASE)
    base, tree = tmp_path / "base.dtb", tmp_path / "tree.dtb"
    subprocess.run(["dtc", "-@", "-I", "dts", "-O", "dtb", "-o", base, tmp_path / "base.dts"], check=True)
    subprocess.run(["fdtoverlay", "-i", base, "-o", tree, made / f"{name}.dtbo"], check=True)
    node, link = f"/soc/i2c@1000/{codec}", "/sound/simple-audio-card,codec"
    assert get(tree, node, "compatible") == compatible
    assert int(get(tree, node, "reg", "x"), 16) == int(codec.partition("@")[2], 16)
    for bus in ("/soc/i2c@1000", "/soc/i2s@2000", "/sound"):
        assert get(tree, bus, "status") == "okay"
    assert get(tree, "/sound", "simple-audio-card,name") == "seeed2micvoicec"
    profiles = [known for known in shipped().values() if f"dtoverlay={name}" in known.config_txt]
    assert [known.capture.device for known in profiles] == ["plughw:CARD=seeed2micvoicec,DEV=0"]
    assert profiles[0].found_by.codec in compatible.replace("3104", "3x")
    end = get(tree, link, "phandle", "u")
    for master in ("bitclock-master", "frame-master"):
        assert get(tree, "/sound", f"simple-audio-card,{master}", "u") == end
    assert get(tree, link, "sound-dai", "u") == get(tree, node, "phandle", "u")
    bus = get(tree, "/sound/simple-audio-card,cpu", "sound-dai", "u")
    assert bus == get(tree, "/soc/i2s@2000", "phandle", "u")
    assert get(tree, link, "clocks", "u") == get(tree, "/voice-oscillator", "phandle", "u")
    assert int(get(tree, "/voice-oscillator", "clock-frequency", "u")) == hertz
    routes = get(tree, "/sound", "simple-audio-card,routing").split()
    assert [routes[routes.index(name) + 1] for name in inputs] == ["Microphones", "Microphones"]


def test_every_line_names_an_overlay_that_is_somewhere() -> None:
    for name, known in shipped().items():
        for overlay in filter(None, (found[1] for line in known.config_txt if (found := lines.OVERLAY.match(line)))):
            if overlay not in PIS_OWN | {source.stem for source in SOURCES}:
                assert "the card image does not have" in known.driver, f"{name}: {overlay}"
    assert not PIS_OWN & {source.stem for source in SOURCES}


# --- the boot partition ---


def tree_for(root: Path, boot: Boot) -> None:
    """Files for everything that a profile names."""
    for pattern in (
        *boot.files,
        *boot.overlays,
        *(k.kernel for k in boot.kernels),
        *(k.initramfs for k in boot.kernels),
    ):
        path = root / pattern.replace("*", "x")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("kernel", profile.names())
def test_the_boot_partition_includes_the_boards_lines_last(tmp_path: Path, kernel: str) -> None:
    boot = profile.load(kernel).boot
    tree_for(tmp_path / "root", boot)
    folder = assembly.boot_folder(tmp_path / "root", boot, "A", tmp_path / "boot", tmp_path / "log", epoch=0)
    config = (folder / "config.txt").read_text()
    assert config.endswith("\n[all]\ninclude board.txt\n")
    assert lines.INCLUDE.search(config)
    assert all(len(line) <= board.LONGEST_LINE for line in config.splitlines())
    assert (folder / "board.txt").read_bytes() == lines.text(()).encode()
    assert {f"{source.stem}.dtbo" for source in SOURCES} < {path.name for path in (folder / "overlays").iterdir()}
    other = assembly.boot_folder(tmp_path / "root", boot, "B", tmp_path / "other", tmp_path / "log", epoch=0)
    assert [path.name for path in other.iterdir()] == ["cmdline.txt"]


def test_an_overlay_that_does_not_compile_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.dts").write_text("/dts-v1/;\n/plugin/;\n/ { nonsense }\n")
    monkeypatch.setattr(assembly, "OVERLAYS", tmp_path)
    with pytest.raises(ImageError, match="dtc failed"):
        assembly.overlays(tmp_path, tmp_path / "log", epoch=0)
