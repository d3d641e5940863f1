"""From a source of data to batches: read, cut into slices, prepared once, dealt in batches."""
