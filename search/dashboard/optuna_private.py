"""The names that are private to Optuna, each tried in tests/search/dashboard/test_optuna_private.py."""

from optuna.storages.journal._storage import JournalOperation as JournalOperation
