"""The provisioning service: knows the fleet, holds the provider key, hands out short-lived Realtime secrets.

An optional extra (``pip install voice-appliance[provisioning]``). It shares nothing with the device but the
protocol: OAuth device grant (RFC 8628), DPoP (RFC 9449), revocation (RFC 7009) and a small JSON API.
"""
