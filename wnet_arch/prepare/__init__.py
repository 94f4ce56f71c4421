"""Photos to sets: ``wnet prepare``."""
