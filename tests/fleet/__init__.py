"""A fleet of devices against the provisioning service: after an outage in virtual time, and under load on loopback."""
