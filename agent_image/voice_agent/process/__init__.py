"""What makes the agent's process small, quick and quiet: nothing of a call."""
