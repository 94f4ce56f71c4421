"""Models in BasicSR's sense (network, losses, optimizer); importing this package registers them."""

from wnet_arch.models.face_sr_model import FaceSRModel
from wnet_arch.models.wnet_model import WNetModel

__all__ = ["FaceSRModel", "WNetModel"]
