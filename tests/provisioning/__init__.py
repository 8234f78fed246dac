"""Tests of the provisioning service."""
