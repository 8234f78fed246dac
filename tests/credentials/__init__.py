"""Tests of the device side of provisioning."""
