"""How sound moves: one thread owns microphone and loudspeaker. numpy lives only here."""
