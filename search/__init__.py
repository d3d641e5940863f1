"""How to search: Ray Tune, Optuna, the run directory."""
