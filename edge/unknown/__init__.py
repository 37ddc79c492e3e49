"""Which latents are unlike every class."""
