"""An agent pod, by its object and by its own word."""
