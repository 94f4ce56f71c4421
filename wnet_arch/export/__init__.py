"""``wnet export``: a trained network as one file, for programs that know nothing of this package (ONNX, ``torch.export``), or as
safetensors that say how to build it.

The way of a network: ``subject`` (what is exported, and what is known of it) -> ``storage`` (precision of its weights) -> one of
``onnx_file``, ``program_file``, ``tensors_file`` -> ``checks`` and ``speed`` (the file against torch) -> ``command``.
"""

from wnet_arch.export.command import Exported, export_network

__all__ = ["Exported", "export_network"]
