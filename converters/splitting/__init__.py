"""A model in parts: its head, the cut in front of it, taps at several depths, and tails that go deeper."""
