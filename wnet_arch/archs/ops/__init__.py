"""What networks compute with, and what makes them fast; no network of its own."""
