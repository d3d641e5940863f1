"""The promises of Frostline, tried many times: `python -m tests.bench.promises`."""
