"""What runs in a trial's warm process."""
