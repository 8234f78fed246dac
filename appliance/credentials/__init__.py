"""Who this device is, and how it gets a short-lived Realtime secret from a provisioning service.

``identity`` holds the key, ``dpop`` signs requests with it (RFC 9449), ``http`` carries them, ``signed`` joins
the three and remembers nonces, ``enrolment`` becomes known to a service (RFC 8628), ``mint`` asks it for secrets.
No provider key ever reaches the device.
"""
