"""What the model may do on this device."""
