"""Readers of one file each: they give the texts, the labels and the groups of its rows as strings."""
