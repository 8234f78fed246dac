"""The fault bench: a table of faults as data, each injected into the whole running daemon."""
