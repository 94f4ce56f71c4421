"""Weights of the networks that W-Net is compared with, with their cards; `wnet_arch` finds them by this package's entry point."""
