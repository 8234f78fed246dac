"""The built image, booted in QEMU: everything that is said of it is shown there."""
