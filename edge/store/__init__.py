"""The local store: samples, classes and versions in one SQLite file."""
