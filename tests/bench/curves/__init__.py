"""Recorded trainings: every report of many recipes and seeds, so that searches can be replayed without training."""
