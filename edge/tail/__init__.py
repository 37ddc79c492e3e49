"""The `tail`: the last blocks of a network, trained on stored maps by a step that was compiled at conversion."""
