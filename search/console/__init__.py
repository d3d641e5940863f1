"""The terminal while a search runs."""
