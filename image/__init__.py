"""The flashable image: built from packages and locks, laid out in two slots, described and checked."""
