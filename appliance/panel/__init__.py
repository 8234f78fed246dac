"""What the user touches and sees: the button, the light, the terminal and the local control socket."""
