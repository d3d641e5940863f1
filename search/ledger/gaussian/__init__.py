"""A Gaussian process over the recipes of a search: what is expected of each, and which one is tried next."""
