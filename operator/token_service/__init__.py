"""HTTP in, VoiceSession out."""
