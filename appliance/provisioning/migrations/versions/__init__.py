"""One file per schema version; released ones are never edited."""
