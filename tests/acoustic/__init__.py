"""The acoustic bench: seeded rooms, human talkers and a spoken reply around the real audio chain."""
