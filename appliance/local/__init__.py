"""A local Realtime backend: real ears, a real voice and a small honest dialogue behind the GA protocol.

Responsible for: serving ``POST /v1/realtime/client_secrets`` and ``ws …/v1/realtime`` on one port without
any network, for the demo, for tests and for a device that is offline. Not for: being a language model, or
anything of the device; of the package it imports only ``appliance.errors``.
"""
