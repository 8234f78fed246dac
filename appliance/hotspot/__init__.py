"""The set-up page: a Wi-Fi of our own for ten minutes, with one page on it, for whoever holds the button."""
