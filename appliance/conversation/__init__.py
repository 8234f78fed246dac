"""What the appliance decides: a pure state machine of about twenty events. No clock, no I/O, stdlib only."""
