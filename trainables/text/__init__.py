"""Parts that families of text models share."""
