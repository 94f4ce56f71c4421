"""Pretrained and third-party files by name: where they come from, how they are verified, where they are kept."""

from wnet_arch.weights.entries import Entry, Origin
from wnet_arch.weights.manager import add, cache_dir, entry, fetch, list_entries, resolve, verify

__all__ = ["Entry", "Origin", "add", "cache_dir", "entry", "fetch", "list_entries", "resolve", "verify"]
