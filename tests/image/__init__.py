"""The image as it is defined: what can be said of it without building it."""
