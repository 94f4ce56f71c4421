"""Pictures of validation: the first faces of a set as rows of LR, bicubic, SR, HR and parsing map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image

from wnet_arch import visuals

#: Titles, and the key of a face's image below each.
COLUMNS = {"LR": "lq", "bicubic": "bicubic", "SR": "result", "HR": "gt", "parsing map": "parsing"}
#: Characters of a name that fit beside a row.
NAME_LENGTH = 14


class ValidationSheet:
    """Collects the first faces of a validation set, in whatever order they come.

    Args:
        faces: how many; 0 keeps none.
    """

    def __init__(self, faces: int):
        self.faces = faces
        #: By index in the set: name, and images as uint8 tensors (H, W, 3).
        self.rows: dict[int, tuple[str, dict[str, torch.Tensor]]] = {}

    def add(self, index: int, name: str, images: Mapping[str, torch.Tensor]) -> None:
        """Keeps a face, if it is one of the first.

        Args:
            index: of the face in the set, from 0.
            name: stands beside the row.
            images: as :meth:`FaceSRModel.get_current_visuals` gives them: ``lq`` (1, 3, h, w) and ``result`` (1, 3, H, W),
                and where there are ``gt`` and ``parsing`` (1, 3, H, W); values in [0, 1], what is outside is cut off.
        """
        if index < self.faces:
            self.rows[index] = name, {key: _bytes(images[key]) for key in COLUMNS.values() if key in images}

    def update(self, rows: Mapping[int, tuple[str, dict[str, torch.Tensor]]]) -> None:
        """Adds the ``rows`` of another sheet, which another process has collected; they can be pickled."""
        self.rows.update(rows)

    def image(self) -> np.ndarray:
        """The faces in the order of the set, uint8 (H, W, 3). Smaller images are enlarged by pixel repetition."""
        names = [self.rows[index][0] for index in sorted(self.rows)]
        faces = [{key: image.numpy() for key, image in self.rows[index][1].items()} for index in sorted(self.rows)]
        high, wide = (max((face["result"].shape[side] for face in faces), default=1) for side in (0, 1))
        for face in faces:
            face["bicubic"] = np.asarray(Image.fromarray(face["lq"]).resize((wide, high), Image.Resampling.BICUBIC))
        columns = {title: key for title, key in COLUMNS.items() if any(key in face for face in faces)}
        rows = [[face.get(key) for key in columns.values()] for face in faces]
        notes = [name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 2]}.." for name in map(_ascii, names)]
        return np.asarray(visuals.sheet(list(columns), rows, notes, tile=(wide, high)))

    def write(self, tb_logger, tag: str, iteration: int) -> None:
        """Shows the sheet in TensorBoard, if there are faces and a ``SummaryWriter``."""
        if tb_logger is not None and self.rows:
            tb_logger.add_image(tag, self.image(), iteration, dataformats="HWC")


def _ascii(name: str) -> str:
    """A name that any font of Pillow can draw."""
    return name.encode("ascii", "replace").decode()


def _bytes(image: torch.Tensor) -> torch.Tensor:
    """(1, C, H, W) float to (H, W, C) uint8, rounded as the framework rounds what it saves."""
    return image[0].detach().float().cpu().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
