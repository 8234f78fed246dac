"""Tests of the owner's web page."""
