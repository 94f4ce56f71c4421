"""Restores the faces of one photo: finds, cuts out, super-resolves and pastes back."""

from __future__ import annotations

import numbers
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from wnet_arch.data.photos import MAX_PIXELS
from wnet_arch.errors import DataError, UsageError
from wnet_arch.faces import crop
from wnet_arch.faces.align import Tilted
from wnet_arch.faces.detection import Detector
from wnet_arch.faces.detectors import DEFAULT, create_detector
from wnet_arch.faces.parsing import Parser, create_parser
from wnet_arch.restore import frames, paste
from wnet_arch.restore.hints import PhotoHints, Tables, read_hints
from wnet_arch.restore.networks import AUTO, QUALITIES, FaceNetwork, enlarge_face, is_for, open_networks, ships
from wnet_arch.restore.orientation import box_as_it_stands, find_upright, frame_as_it_stands, points_as_they_stand
from wnet_arch.restore.search import SMALLEST

#: What a restored face is; said in every output.
STATEMENT = "Details of restored faces are estimated, not recovered. Never use them to identify a person."
#: A face about which MTCNN or RetinaFace is less sure than this is perhaps none.
_PERHAPS = 0.9
#: Photos are enlarged by this at most.
LARGEST_SCALE = 16


@dataclass
class RestoredFace:
    """One face of a photo.

    Attributes:
        box: left, top, right, bottom in pixels of the photo, as the detector says; of a face image the whole.
        landmarks: float32 (5, 2): eyes, nose, corners of the mouth, as one sees them in the upright face from the left;
            ``None`` where the detector has none.
        score: of the detector; ``None`` for a face image.
        side: of the face's frame in pixels of the photo, about 1.5 times the width of the face.
        frame: the square that was, or would have been, restored.
        scale: of the network; ``None`` for a face that was left alone.
        lq, sr, mask: what the network got, uint8 (h, h, 3); what it made, uint8 (128, 128, 3), ``strength`` not regarded; and the
            share of it that was pasted, float32 (128, 128). ``None`` for a face that was left alone.
        estimated: whether a network has estimated its details; ``False`` where it was plainly enlarged (``Bicubic``).
        left_alone: why nothing was made of it, a few words; ``None`` where something was.
        doubts: why little of it is certain, a few words each.
        skin: what the network itself takes for skin, float32 (128, 128), about 0 to 1; ``None`` where it does not say.
        mask_from: ``parsing``, or ``oval`` where the estimated parsing shows no face.
    """

    box: tuple[float, float, float, float]
    side: float
    frame: Tilted
    landmarks: np.ndarray | None = None
    score: float | None = None
    scale: int | None = None
    network: str | None = None
    lq: np.ndarray | None = None
    sr: np.ndarray | None = None
    mask: np.ndarray | None = None
    mask_from: str | None = None
    skin: np.ndarray | None = None
    estimated: bool = True
    left_alone: str | None = None
    doubts: tuple[str, ...] = ()

    @property
    def cut_out(self) -> bool:
        """Whether it was cut out and enlarged, by a network or plainly."""
        return self.sr is not None

    @property
    def restored(self) -> bool:
        """Whether a network has estimated its details."""
        return self.cut_out and self.estimated

    def enlarged(self) -> tuple[np.ndarray, np.ndarray]:
        """``lq`` and ``sr`` of a face that was cut out; raises ``ValueError`` for one that was left alone."""
        if self.lq is None or self.sr is None:
            raise ValueError("this face was left alone: there is no picture of it")
        return self.lq, self.sr

    @property
    def added(self) -> np.ndarray:
        """What the network has added to plain enlargement of ``lq``: float32 (128, 128, 3)."""
        lq, sr = self.enlarged()
        return sr.astype(np.float32) - enlarge_face(lq)


@dataclass
class RestoredPhoto:
    """``image``: uint8 (H, W, 3), the photo enlarged by ``scale`` with its faces restored. ``faces``: all found, largest first.
    ``smallest``: side of the smallest face that was looked for. ``notes``: what is worth knowing, a line each. ``turn``: by how
    many degrees the photo would have to be turned clockwise for its faces to stand upright: 0, 90, 180 or 270.
    ``hints``: what its look says; where ``hints.tone`` is not ``None``, luminance alone was restored. ``changed``: whether any
    pixel may differ from plain enlargement.
    """

    image: np.ndarray
    scale: float
    faces: list[RestoredFace]
    smallest: float
    notes: list[str] = field(default_factory=list)
    turn: int = 0
    hints: PhotoHints = field(default_factory=PhotoHints)
    changed: bool = False

    @property
    def cut_out(self) -> list[RestoredFace]:
        """The faces that were cut out and enlarged, by a network or plainly."""
        return [face for face in self.faces if face.cut_out]

    @property
    def restored(self) -> list[RestoredFace]:
        """The faces that a network has worked on."""
        return [face for face in self.faces if face.restored]


class FaceRestorer:
    """Restores faces in photos.

    Args:
        network: name of a shipped network, or ``Bicubic``; ``None`` takes ``weights``, or else the default network.
        device: ``cpu``, ``cuda``, ...
        weights: runs or weights files of your own, one for each scale at most.
        detector: one of :data:`wnet_arch.faces.detectors.DETECTORS`; or a detector.
        scale: by which photos are enlarged; ``None``: as the restored faces need, see :meth:`restore`.
        strength: share of the restored face in the result, 0 to 1.
        batch: faces that a network gets at once.
        smallest: side in pixels of the smallest face to look for; see :func:`wnet_arch.restore.search.find_faces`.
        offline: folder with the detector's weights; nothing is downloaded.
        turns: whether photos in which no sure face is found are searched turned as well; see
            :func:`wnet_arch.restore.orientation.find_upright`.
        quality: which shipped networks, unless one is named: ``faithful``, as near to the true face as they come if the photo is
            clean; ``sharp``, with more detail that is less certain (ships for x8; where a scale has none, as ``faithful``);
            ``real``, trained on degraded faces; ``auto`` (default): ``real`` for photos whose hints say that they
            are degraded, and else ``faithful``. The photo's notes say where it took ``real``, and why.

    Raises:
        UsageError: an argument is wrong.
        WeightsError: weights are missing or do not fit.
    """

    def __init__(
        self,
        network: str | None = None,
        device: str = "cpu",
        *,
        weights: str | os.PathLike | Sequence[str | os.PathLike] = (),
        detector: str | Detector = DEFAULT,
        scale: float | None = None,
        strength: float = 1.0,
        batch: int = 8,
        smallest: float | None = None,
        offline: str | None = None,
        quality: str | None = None,
        turns: bool = True,
    ):
        weights = [weights] if isinstance(weights, (str, os.PathLike)) else weights
        _check(scale, strength, batch, smallest)
        self.turns = turns
        self.scale, self.strength, self.batch, self.smallest = scale, strength, batch, smallest
        quality = quality or (None if network or weights else AUTO)
        wanted = "faithful" if quality == AUTO else quality
        self.networks: dict[int, FaceNetwork] = open_networks(network, [os.fspath(one) for one in weights], device, wanted)
        self.quality = quality
        self._detector_name, self._device, self._offline = detector, device, offline
        self.parser: Parser = create_parser("compact", device)

    @cached_property
    def real_networks(self) -> dict[int, FaceNetwork]:
        """Those for degraded photos, where the quality is ``auto`` and such networks ship; opened on first use."""
        return open_networks(None, (), self._device, "real") if self.quality == AUTO and ships("real") else {}

    @property
    def detector(self) -> Detector:
        """What finds the faces; opened on first use, since face images need none."""
        if isinstance(self._detector_name, str):
            self._detector_name = create_detector(self._detector_name, self._device, self._offline)
        return self._detector_name

    @property
    def largest_side(self) -> float:
        """Side of the largest face that is restored in a photo that looks clean, in pixels of the photo."""
        return _largest_side(self.networks)

    def restore(self, image: np.ndarray, tables: Tables = ()) -> RestoredPhoto:
        """Restores all faces of a photo that are not larger than the networks' inputs; others are left alone, with a note.

        Where no scale was asked for, the photo is enlarged by the largest scale of the networks that were used, or the largest
        whole number that keeps it below ``MAX_PIXELS``: not at all where there is no face, or all faces are large already.

        Of a photo without colours of its own, black and white or toned like sepia (:func:`wnet_arch.restore.hints.find_tone`),
        luminance alone is restored, and gets the photo's tint: where R = G = B in the photo, R = G = B in the result.

        Args:
            image: uint8 (H, W, 3) RGB. The result stands as it does, also where its faces lie on their side.
            tables: of the JPEG file that it comes from the quantisation tables (Pillow: ``quantization``); none of other files.

        Raises:
            DataError: the image has another shape or type, or would become too large.
        """
        photo = _checked_image(image)
        hints = read_hints(photo, tables)
        quality, networks, why = self._choose(hints)
        upright = find_upright(self.detector, photo, self.smallest, self.turns)
        faces = []
        for one in upright.faces:
            frame = frames.frame_of(one, self.detector.name)
            scale = frames.choose_scale(frame.side, networks)
            network = None if scale is None else networks[scale]
            square = frame if network is None or network.degraded else frames.input_square(frame, network.side)
            faces.append(RestoredFace(one.box, frame.side, square, one.five, one.score, scale))
        self._super_resolve(upright.photo, faces, networks)
        hints = _keep_tone(faces, hints)
        factor = self._scale_for(photo, faces)
        enlarged = paste.enlarge(photo, factor)
        turned = np.rot90(enlarged, upright.quarters)  # the same pixels: what is pasted here is pasted there
        for face in faces:
            if face.cut_out and face.mask is not None:
                paste.paste(turned, upright.photo.shape[:2], face.frame, face.added * np.float32(self.strength), face.mask)
        if upright.quarters:
            faces = [_as_it_stands(face, upright.quarters, *photo.shape[:2]) for face in faces]
        turn = -90 * upright.quarters % 360
        largest = _largest_side(networks)
        _explain(faces, hints, largest, self.detector.name != "dlib")
        notes = self._notes(faces, upright.smallest, largest, hints, turn, quality) + why * any(face.cut_out for face in faces)
        return RestoredPhoto(enlarged, factor, faces, upright.smallest, notes, turn, hints, self._changes(faces))

    def restore_face(self, image: np.ndarray, tables: Tables = ()) -> RestoredPhoto:
        """Restores an aligned face: a square in the frame of ``celeba-aligned``, as small as the networks' inputs.

        The result has the network's output size, and of a grey face is grey. Parsing and ``scale`` do not apply. A face too large
        for the networks stays as it is. No result is smaller than what was given: a larger face than the network's output keeps its
        size, and a photo of CelebA (178x218), which shows one of 152 pixels, is restored in its place.

        Raises:
            DataError: the image is not square, or no image.
        """
        photo = given = _checked_image(image)
        height, width = photo.shape[:2]
        box = crop.Box(0, 0, width, height)
        if (width, height) == crop.CELEBA_ALIGNED_SIZE:
            box, photo = crop.CELEBA_ALIGNED, crop.cut(photo, crop.CELEBA_ALIGNED)
            height, width = photo.shape[:2]
        if height != width:
            raise DataError(f"an aligned face is square, or a photo of CelebA (178x218); this is {width}x{height}")
        hints = read_hints(photo, tables)
        quality, networks, why = self._choose(hints)
        scale, largest = frames.choose_scale(width, networks), _largest_side(networks)
        left, top, right, bottom = map(float, box)
        face = RestoredFace((left, top, right, bottom), width, frames.of_box(box), scale=scale)
        if scale is None:
            _explain([face], hints, largest)
            reduce = f"reduce it to {SMALLEST:g} to {largest:g} pixels first, to have it restored"
            return RestoredPhoto(given, 1.0, [face], width, [*self._notes([face], SMALLEST, largest, hints), reduce], hints=hints)
        network = networks[scale]
        face.network, face.estimated = network.name, network.estimates
        face.lq = crop.resize(photo, network.side, crop.Image.Resampling.BICUBIC)
        face.sr = network.run([face.lq])[0].sr
        hints = _keep_tone([face], hints)
        _explain([face], hints, largest)
        added = np.float32(self.strength) * face.added
        if width > frames.OUTPUT:
            everywhere = np.ones(added.shape[:2], np.float32)
            mixed = given.copy()
            paste.paste(mixed, given.shape[:2], face.frame, added, everywhere if photo is given else paste.soft_mask(everywhere))
        else:
            mixed = np.rint(enlarge_face(face.lq) + added).astype(np.uint8)
        notes = self._notes([face], SMALLEST, largest, hints, quality=quality) + why
        return RestoredPhoto(mixed, mixed.shape[0] / given.shape[0], [face], width, notes, 0, hints, self._changes([face]))

    def _choose(self, hints: PhotoHints) -> tuple[str | None, dict[int, FaceNetwork], list[str]]:
        """Quality and networks for a photo, and, where that was left to us and it looks degraded, why."""
        if self.quality != AUTO:
            return self.quality, self.networks, []
        looks = " and ".join(hints.better_real)
        if not looks:
            return "faithful", self.networks, []
        if not self.real_networks:
            missing = f"no network for such photos ({QUALITIES['real'][0]}) ships"
            return "faithful", self.networks, [f"quality faithful in spite of {looks}, as {missing}"]
        return "real", self.real_networks, [f"quality real, for {looks}"]

    def _super_resolve(self, photo: np.ndarray, faces: list[RestoredFace], networks: Mapping[int, FaceNetwork]) -> None:
        for scale, network in networks.items():
            own = [face for face in faces if face.scale == scale]
            for start in range(0, len(own), self.batch):
                part = own[start : start + self.batch]
                lqs = [face.frame.image(photo, network.side) for face in part]
                results = network.run(lqs)
                for face, lq, result in zip(part, lqs, results):
                    face.network, face.estimated = network.name, network.estimates
                    face.lq, face.sr, face.skin = lq, result.sr, result.skin
                self._make_masks(part, [result.sr for result in results])

    def _make_masks(self, faces: list[RestoredFace], srs: list[np.ndarray]) -> None:
        """The head in the parser's map of the restored face, with what the network itself takes for skin where it says so."""
        maps = self.parser.parse_batch(srs)
        for face, classes in zip(faces, maps):
            regions = [paste.region_of_map(classes), None if face.skin is None else paste.region_of_skin(face.skin)]
            known = [region for region in regions if region is not None]
            face.mask_from = "parsing" if known else "oval"
            face.mask = paste.soft_mask(np.any(known, 0) if known else paste.oval(frames.OUTPUT))

    def _scale_for(self, photo: np.ndarray, faces: list[RestoredFace]) -> float:
        height, width = photo.shape[:2]
        limit = (MAX_PIXELS / (height * width)) ** 0.5
        if self.scale is None:
            wanted = max((face.scale for face in faces if face.cut_out and face.scale is not None), default=1)
            return float(min(wanted, max(1, int(limit))))
        if self.scale > limit:
            size = f"{width}x{height} enlarged by {self.scale:g}"
            raise DataError(f"{size} has more than {MAX_PIXELS:,} pixels; --scale can be {limit:.3g} at most")
        return self.scale

    def _changes(self, faces: list[RestoredFace]) -> bool:
        return self.strength > 0 and any(face.restored for face in faces)

    def _notes(
        self,
        faces: list[RestoredFace],
        smallest: float,
        largest: float,
        hints: PhotoHints,
        turn: int = 0,
        quality: str | None = None,
    ) -> list[str]:
        notes = []
        restored = [face for face in faces if face.restored]
        if turn:
            how = "stand on their heads" if turn == 180 else "lie on their side"
            notes.append(f"faces {how} (upright after {turn} degrees clockwise), and were treated so; the photo was not turned")
        large = sum(not face.cut_out for face in faces)
        if large:
            what = "1 face is" if large == 1 else f"{large} faces are"
            if large == len(faces):
                what = "the face is" if large == 1 else "all faces are"
            notes.append(f"{what} larger than {largest:g} pixels and left alone")
        if restored and hints.tone:
            notes.append("black and white: only light and dark were restored" if hints.tone.name == "grey"
                         else "toned: only light and dark were restored, in the photo's tint")  # fmt: skip
        if restored and hints.degraded:
            notes.append(f"{' and '.join(hints.degraded)}: little of the restored faces is certain")
        perhaps = sum(any(doubt.startswith("perhaps no face") for doubt in face.doubts) for face in restored)
        if perhaps:
            notes.append(f"perhaps no face: {perhaps} of {len(restored)} restored")
        if quality:
            used = Counter(face.network for face in restored if face.network is not None)
            for name in sorted(name for name in used if not is_for(quality, name)):
                notes.append(f"faces that went through {name}, as no {quality} network has their size: {used[name]}")
        if self.smallest is None and smallest > SMALLEST + 0.5:
            notes.append(f"the photo is large, so it was searched for faces of {smallest:.0f} pixels and more (--min-face)")
        return notes


def _largest_side(networks: Mapping[int, FaceNetwork]) -> float:
    """Side of the largest face that these networks take, in pixels of the photo."""
    return max(network.side for network in networks.values()) * frames.MARGIN


def _explain(faces: list[RestoredFace], hints: PhotoHints, largest: float, has_sure_scores: bool = False) -> None:
    """Why faces were left alone, and why little of others is certain; dlib's scores are no shares, and say nothing of that."""
    for face in faces:
        if not face.cut_out:
            face.left_alone = f"larger than {largest:g} pixels"
        elif face.restored:
            perhaps = face.score is not None and has_sure_scores and face.score < _PERHAPS
            doubts = [f"perhaps no face: score {face.score:.2f}"] if perhaps else []
            face.doubts = (*doubts, *hints.degraded, *["its parsing map shows no face"] * (face.mask_from == "oval"))


def _keep_tone(faces: list[RestoredFace], hints: PhotoHints) -> PhotoHints:
    """Gives the restored faces of a photo without colours its tint. Where a face has other colours, it is a colour photo."""
    made = [(face, *face.enlarged()) for face in faces if face.cut_out]
    if hints.tone is None or not all(hints.tone.holds(lq) for _, lq, _ in made):
        return replace(hints, tone=None)
    for face, lq, sr in made:
        face.sr = hints.tone.retouched(enlarge_face(lq), sr)
    return hints


def _as_it_stands(face: RestoredFace, quarters: int, height: int, width: int) -> RestoredFace:
    """A face of the turned photo, in pixels of the photo as it stands, which is ``height`` by ``width``."""
    turned = quarters, height, width
    five = None if face.landmarks is None else points_as_they_stand(face.landmarks, *turned)
    return replace(face, box=box_as_it_stands(face.box, *turned), frame=frame_as_it_stands(face.frame, *turned), landmarks=five)


def _check(scale: float | None, strength: float, batch: int, smallest: float | None) -> None:
    if scale is not None and not (_is_number(scale) and 0 < scale <= LARGEST_SCALE):
        raise UsageError(f"--scale: above 0, up to {LARGEST_SCALE}, not {scale}")
    if not (_is_number(strength) and 0 <= strength <= 1):
        raise UsageError(f"--strength: 0 to 1, not {strength}")
    if not (isinstance(batch, int) and batch >= 1):
        raise UsageError(f"--batch: a whole number, at least 1, not {batch}")
    if smallest is not None and not (_is_number(smallest) and 8 <= smallest <= 1000):
        raise UsageError(f"--min-face: 8 to 1000, not {smallest}")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real)


def _checked_image(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"a photo is RGB, uint8 (H, W, 3); this is {image.dtype} {image.shape}")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise DataError(f"the photo has {image.shape[1]}x{image.shape[0]} pixels; {MAX_PIXELS:,} at most")
    return image
