"""One call, from VoiceSession to expiry."""
