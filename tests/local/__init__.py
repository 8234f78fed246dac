"""Tests of the local Realtime backend."""
