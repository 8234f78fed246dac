"""voice-appliance: a microphone, a loudspeaker, one button and one LED become a voice appliance.

``docs/architecture.md`` is the map: audio never enters the state machine, only facts about audio do; outputs
that mirror state (LED, microphone, timers) are functions of state.
"""

__version__ = "0.1.0"
