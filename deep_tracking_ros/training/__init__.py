"""Scene generator, losses and loops."""
