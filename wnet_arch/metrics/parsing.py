"""Parsing IoU: how well the facial parts of an SR face cover those of the true face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wnet_arch.errors import DataError
from wnet_arch.faces import labels
from wnet_arch.faces.parsing import create_parser
from wnet_arch.metrics.base import (
    BATCH,
    Description,
    Images,
    Metric,
    batches,
    check_batch,
    check_counts,
    check_images,
    choose_device,
)
from wnet_arch.metrics.found_faces import FaceFinder

#: What is compared: classes that count as one.
PARTS = {"skin": (labels.SKIN,), **labels.COMPONENTS}


@dataclass(frozen=True)
class Maps(Description):
    """Parsing maps of N images: a list of uint8 (H, W), classes of :mod:`wnet_arch.faces.labels`."""

    maps: list


class ParsingIoU(Metric[Maps]):
    """Intersection over union of the parts of SR and GT, as a parser sees them: skin, eyes, brows, nose, mouth.

    The first value is the mean over the parts that are in either map. A part in neither is NaN. Pixels that are unknown (255)
    in either map are left out. To compare with hand-made maps, give these to :meth:`compare`:
    ``metric.compare(metric.describe(sr), Maps(true_maps))``.

    Args:
        parser: any that :func:`wnet_arch.faces.parsing.create_parser` knows. With ``landmarks``, which draws maps through
            dlib's 68 points, a face that is not found gives NaN.
        device: see :func:`wnet_arch.metrics.base.choose_device`.
        batch: faces the parser sees at a time.
    """

    name = "parsing"
    better = "higher"
    units = {"parsing_iou": "", **{f"parsing_iou_{part}": "" for part in PARTS}}

    def __init__(self, parser: str = "compact", device: str = "auto", batch: int = BATCH):
        self.parser = create_parser(parser, device=str(choose_device(device)))
        self.finder = FaceFinder() if self.parser.needs_points else None
        self.batch = check_batch(batch)
        self.backbone = f"parser {parser}"

    def describe(self, images: Images, reference: Maps | None = None) -> Maps:
        """Maps of the images, uint8 (H, W) each; with a parser that draws through landmarks, all unknown where no face is found."""
        images = check_images(images)
        if self.finder:
            return Maps([self._drawn(image, found) for image, found in zip(images, self.finder.find(images).points)])
        maps: list = [None] * len(images)
        for chosen, batch in batches(images, self.batch):
            for index, labels_map in zip(chosen, self.parser.parse_batch(batch)):
                maps[index] = labels_map
        return Maps(maps)

    def _drawn(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The map through landmarks; all unknown where there are none."""
        if np.isnan(points).any():
            return np.full(image.shape[:2], labels.UNKNOWN, np.uint8)
        return self.parser.parse(image, points)

    def compare(self, sr: Maps, gt: Maps) -> dict[str, np.ndarray]:
        """``parsing_iou``, the mean over the parts, and the IoU of each part, in [0, 1] or NaN.

        Raises:
            DataError: they are not as many, a map is none, or those of a pair differ in size.
        """
        check_counts(sr, gt)
        for labels_map in (*sr.maps, *gt.maps):
            labels.check(labels_map, "parsing_iou")
        ious = np.array([_part_ious(one, other) for one, other in zip(sr.maps, gt.maps)])
        seen = (~np.isnan(ious)).sum(1)
        mean = np.divide(np.nansum(ious, 1), seen, out=np.full(len(ious), np.nan), where=seen > 0)
        return {"parsing_iou": mean, **{f"parsing_iou_{part}": ious[:, i] for i, part in enumerate(PARTS)}}


def _part_ious(one: np.ndarray, other: np.ndarray) -> list[float]:
    """IoU of each of :data:`PARTS` in two maps (H, W); NaN where neither has the part."""
    if one.shape != other.shape:
        raise DataError(f"parsing maps of {one.shape[1]}x{one.shape[0]} and {other.shape[1]}x{other.shape[0]} pixels")
    known = (one != labels.UNKNOWN) & (other != labels.UNKNOWN)
    values = []
    for classes in PARTS.values():
        ours, true = (np.isin(labels_map, classes) & known for labels_map in (one, other))
        union = np.count_nonzero(ours | true)
        values.append(np.count_nonzero(ours & true) / union if union else np.nan)
    return values
