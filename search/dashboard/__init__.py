"""optuna-dashboard on a run directory."""
