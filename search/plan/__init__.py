"""What will happen, resolved and checked before anything starts."""
