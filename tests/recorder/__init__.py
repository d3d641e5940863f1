"""Records what makes files last: fsync, rename, link and new folders, in every process of a search."""
