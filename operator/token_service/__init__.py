"""HTTP in, VoiceSession out: LiveKit tokens for customers, and LiveKit's webhooks turned into VoiceSessions."""
