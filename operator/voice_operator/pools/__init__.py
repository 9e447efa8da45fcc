"""How many pods wait, and which goes to whom."""
