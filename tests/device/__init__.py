"""A whole device in virtual time: engine, audio thread, protocol and transport, a card, a server and one clock."""
