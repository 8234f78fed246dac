"""The loop from loudspeaker to microphone, measured: delay, level, noise, distortion, and what AEC3 makes of it."""
