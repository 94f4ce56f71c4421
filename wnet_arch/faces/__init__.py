"""Faces in photos: detection, 68 landmarks, crop and parsing map. Used alike by prepare, metrics and restore."""
