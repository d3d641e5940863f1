"""Ray Tune's side of a search: the only place with hooks of Tune."""
