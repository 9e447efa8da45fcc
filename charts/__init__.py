"""The chart; of Python only what writes the schema of its values."""
