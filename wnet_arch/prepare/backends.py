"""Which detector, landmarker and parser ``wnet prepare`` uses: option names, what goes together, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wnet_arch import weights
from wnet_arch.errors import UsageError
from wnet_arch.faces import landmark_files, landmarks, parsing
from wnet_arch.faces.detection import CHOICES
from wnet_arch.faces.detectors import DEFAULT, DETECTORS
from wnet_arch.faces.landmark_files import LandmarkFile
from wnet_arch.faces.landmarks import LANDMARKERS, LandmarkDetector
from wnet_arch.faces.parsing import PARSERS, Parser, create_parser
from wnet_arch.prepare.face_maker import CROPS

#: Entries of the weights manifest; dlib's detector needs no file.
_DETECTOR_WEIGHTS = {"dlib": None, "retinaface": "retinaface-resnet50", "mtcnn": "mtcnn"}
_LANDMARKER_WEIGHTS = {"dlib": landmarks.WEIGHTS, "face-alignment": landmarks.FAN_WEIGHTS}


@dataclass(frozen=True)
class Backends:
    """What finds faces and makes maps, for one combination of options.

    Args:
        crop: one of :data:`~wnet_arch.prepare.face_maker.CROPS`.
        parser: one of :data:`~wnet_arch.faces.parsing.PARSERS`, or ``None``.
        landmarks: whether the 68 points are stored.
        detector: one of :data:`~wnet_arch.faces.detectors.DETECTORS`.
        landmarker: one of :data:`~wnet_arch.faces.landmarks.LANDMARKERS`.
        landmarks_file: points from there instead of a detector's and landmarker's.
        face: which of several faces, one of :data:`~wnet_arch.faces.detection.CHOICES`.
        offline: folder with weights.

    Raises:
        UsageError: a name that is not known, or names that do not go together.
    """

    crop: str
    parser: str | None = None
    landmarks: bool = False
    detector: str = DEFAULT
    landmarker: str = "dlib"
    landmarks_file: Path | None = None
    face: str = "largest"
    offline: Path | None = None

    def __post_init__(self):
        for option, value, known in (
            ("crop", self.crop, CROPS), ("parser", self.parser, (None, *PARSERS)), ("detector", self.detector, DETECTORS),
            ("landmarker", self.landmarker, LANDMARKERS), ("face", self.face, CHOICES),
        ):  # fmt: skip
            if value not in known:
                raise UsageError(f"--{option} {value}: known are {', '.join(name for name in known if name)}")

        self._check_use()

    def _check_use(self) -> None:
        """Refuses options that nothing would use."""
        given = {
            "--detector": self.detector != DEFAULT and self.detector,
            "--landmarker": self.landmarker != "dlib" and self.landmarker,
            "--face": self.face != "largest" and self.face,
        }
        idle = [f"{option} {value}" for option, value in given.items() if value]
        if self.landmarks_file and idle:
            raise UsageError(f"--landmarks-file and {idle[0]} exclude each other: points are read, not detected")
        if self.landmarks_file:
            idle.append(f"--landmarks-file {self.landmarks_file}")
        if idle and not self.wants_face:
            raise UsageError(f"{idle[0]}: no face is looked for, as --crop {self.crop} needs none and no points are wanted")

    @property
    def needs_face(self) -> bool:
        """Whether a photo without a face is of no use."""
        return self.crop in ("landmarks", "five-point") or self.parser == "landmarks"

    @property
    def _wishes(self) -> tuple[str, ...]:
        """The options for which all 68 points are wanted, not five only."""
        wishes = {
            "--crop landmarks": self.crop == "landmarks",
            "--parser landmarks": self.parser == "landmarks",
            "--landmarks": self.landmarks,
        }
        return tuple(option for option, wanted in wishes.items() if wanted)

    @property
    def wants_face(self) -> bool:
        """Whether faces have to be looked for in the photos."""
        return self.needs_face or self.landmarks

    @property
    def _landmarker(self) -> str | None:
        """The landmarker, unless the detector's own five points are all that is wanted."""
        return self.landmarker if self._wishes or self.detector == "dlib" else None

    def finder(self) -> LandmarkDetector | LandmarkFile | None:
        """What finds the face of a photo, or ``None`` where none is wanted.

        Raises:
            UsageError: the landmark file has five points, and 68 are wanted.
            DataError: the landmark file cannot be read.
            WeightsError: a package is not installed, or weights are not there.
        """
        if not self.wants_face:
            return None
        if self.landmarks_file:
            file = LandmarkFile(self.landmarks_file)
            if self._wishes and file.count != landmarks.NUM_POINTS:
                enough = f"{self.landmarks_file} has {file.count}, which do for --crop five-point"
                raise UsageError(f"{self._wishes[0]} needs 68 points, {enough}")
            return file
        return landmarks.LandmarkDetector(
            offline=self._offline, detector=self.detector, landmarker=self._landmarker, choice=self.face
        )

    def map_maker(self) -> Parser | None:
        """What makes the maps, or ``None``. Raises :class:`WeightsError` where its weights are not there."""
        return create_parser(self.parser, offline=self._offline) if self.parser else None

    @property
    def _offline(self) -> str | None:
        return None if self.offline is None else str(self.offline)

    def record(self) -> dict:
        """What the manifest says about the parser (``parser``) and about what found the faces (``faces``, if anything did)."""
        recorded = {"parser": _described(self.parser or "none", {"none": None, "landmarks": None, **parsing.WEIGHTS})}
        if self.wants_face:
            recorded["faces"] = self._faces()
        return recorded

    def _faces(self) -> dict:
        if self.landmarks_file:
            name = Path(self.landmarks_file).resolve().name
            return {"landmarks_file": {"name": name, "sha256": landmark_files.sha256(self.landmarks_file)}}
        used = {"detector": _described(self.detector, _DETECTOR_WEIGHTS), "choice": self.face}
        if self._landmarker:
            used["landmarker"] = _described(self._landmarker, _LANDMARKER_WEIGHTS)
        return used


def _described(name: str, entries: Mapping[str, str | None]) -> dict:
    entry = entries[name]
    return {"name": name, "sha256": weights.entry(entry).sha256 if entry else None}
