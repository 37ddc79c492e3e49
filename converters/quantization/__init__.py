"""Weights and activations in 8 bits: ranges, what each layer costs, and what is gained."""
