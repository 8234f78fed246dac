"""First boot: what a person wrote into ``voice.toml`` on the card becomes the appliance's settings."""
