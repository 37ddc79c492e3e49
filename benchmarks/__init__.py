"""Benchmarks: Acclimate and its peers on the same work in one run. `python -m benchmarks.NAME [--json FILE]`."""
