"""Tests of the Realtime protocol core and its WebSocket transport."""
