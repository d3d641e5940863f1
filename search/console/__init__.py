"""What the terminal shows while a search runs."""
