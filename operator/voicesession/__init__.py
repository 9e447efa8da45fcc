"""The API types: names, labels, models, conditions, assignment. Pure."""
