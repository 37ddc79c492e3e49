"""Which source to transfer from."""
