"""Restores faces in whole photos: finds them, super-resolves each with the network that fits its size, and pastes them back."""

from wnet_arch.restore.restorer import STATEMENT, FaceRestorer, RestoredFace, RestoredPhoto

__all__ = ["STATEMENT", "FaceRestorer", "RestoredFace", "RestoredPhoto"]
