"""What a model looks at and what transfer changed, as numbers and pictures."""
