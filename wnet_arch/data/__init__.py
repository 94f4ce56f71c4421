"""Data sets; importing this package registers them with BasicSR."""

from wnet_arch.data.face_parsing_dataset import PairedFaceParsingDataset

__all__ = ["PairedFaceParsingDataset"]
