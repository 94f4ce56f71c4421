"""Face sets: reading, writing, making them. The data set is registered with BasicSR when that is imported."""

from wnet_arch.data.face_parsing_dataset import PairedFaceParsingDataset

__all__ = ["PairedFaceParsingDataset"]
