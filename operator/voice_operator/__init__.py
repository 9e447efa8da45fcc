"""VoiceSession in, Pod and status out."""
