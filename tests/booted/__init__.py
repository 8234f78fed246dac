"""The units under a real systemd, booted in a container of this machine."""
