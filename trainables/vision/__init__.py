"""Parts that families of vision models share."""
