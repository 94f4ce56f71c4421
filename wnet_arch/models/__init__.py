"""Models in BasicSR's sense (network, losses, optimizer); importing this package registers them."""

from wnet_arch.compat import check_framework

check_framework()  # first: BasicSR, when imported, joins this package to itself

from wnet_arch.models.face_gan_model import FaceGANModel
from wnet_arch.models.face_sr_model import FaceSRModel
from wnet_arch.models.prior_face_sr_model import PriorFaceSRModel
from wnet_arch.models.wnet_gan_model import WNetGANModel
from wnet_arch.models.wnet_model import WNetModel

__all__ = ["FaceGANModel", "FaceSRModel", "PriorFaceSRModel", "WNetGANModel", "WNetModel"]
