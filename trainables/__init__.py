"""How to train: one family of tasks a file. Torch lives here; Ray only in `trainables/slot/worker.py`."""
