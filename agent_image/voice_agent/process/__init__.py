"""The agent's process itself: what it imports, logs and does ahead, and how it ends. Nothing of a call."""
