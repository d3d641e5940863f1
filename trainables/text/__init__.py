"""What families of text models share."""
