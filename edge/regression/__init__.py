"""Bundles whose task is regression."""
