"""Transfer by instance and by feature, in numpy: importance weights, discrepancies, alignment of two domains."""
