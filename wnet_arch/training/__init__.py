"""What surrounds a step of a training."""
