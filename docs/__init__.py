"""Pages for people; of Python only what writes the pages that repeat code."""
