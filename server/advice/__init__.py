"""Which transfer method to use, or none."""
