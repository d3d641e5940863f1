"""What families of vision models share."""
