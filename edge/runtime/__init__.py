"""Inference runtimes, and the checks that a backbone passes before one of them sees it."""
