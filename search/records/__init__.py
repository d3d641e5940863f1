"""A run directory, on disk or at a URL."""
