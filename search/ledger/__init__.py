"""What runs next and what came of it. No Ray, no torch."""
