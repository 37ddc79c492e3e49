"""Settings of a run: declared as fields with units and bounds, read from TOML, checked before anything is loaded."""
