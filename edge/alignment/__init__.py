"""Adapting without labels: alignment of latents, label shift, and a test that says when it is due."""
