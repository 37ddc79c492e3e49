"""How well a source's latents fit a target's labels: scores to choose a source by."""
