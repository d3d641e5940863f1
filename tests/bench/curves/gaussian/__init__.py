"""A search by a Gaussian process that sees scores and losses: what Frostline's own could become."""
