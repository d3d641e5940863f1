"""Which machines there are, and how many trials fit on them."""
