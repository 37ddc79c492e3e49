"""Identities and published results that the methods are held against."""
