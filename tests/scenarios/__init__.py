"""Whole-appliance stories: the real daemon on the virtual card, real sockets, the real provisioning service."""
