"""From a source of data to batches: read, cut into slices, kept prepared on disk."""
