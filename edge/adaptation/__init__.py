"""From labelled latents to a judged candidate head, and to a new version."""
