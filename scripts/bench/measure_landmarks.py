"""Compares detected landmarks with hand-made ones.

    python scripts/bench/measure_landmarks.py --root helen_train --landmarks helen_train_landmarks68.csv --detector mtcnn

The error of a face is the mean distance of its 68 points, in per cent of the distance between the outer corners of the eyes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from wnet_arch.data.photos import load_photo
from wnet_arch.faces.detectors import DETECTORS
from wnet_arch.faces.landmark_files import LandmarkFile
from wnet_arch.faces.landmarks import LANDMARKERS, LandmarkDetector

_RIGHT_CORNER, _LEFT_CORNER = 36, 45


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of photos")
    parser.add_argument("--landmarks", type=Path, required=True, help="CSV, or folder of .pts files, with 68 points a photo")
    parser.add_argument("--detector", choices=DETECTORS, default="dlib")
    parser.add_argument("--landmarker", choices=LANDMARKERS, default="dlib")
    args = parser.parse_args()
    true_points = LandmarkFile(args.landmarks)
    detector = LandmarkDetector(detector=args.detector, landmarker=args.landmarker)
    errors, missed = [], []
    for path in tqdm(sorted(args.root.glob("*.jpg")), unit="photo"):
        photo = load_photo(path)
        found, true = detector.largest(photo), true_points.find(photo, path.name).points
        if found is None:
            missed.append(path.stem)
            continue
        eyes = np.linalg.norm(true[_LEFT_CORNER] - true[_RIGHT_CORNER])
        errors.append(100 * np.linalg.norm(found.points - true, axis=1).mean() / eyes)
    print(f"{args.detector} + {args.landmarker}: {len(errors)} of {len(errors) + len(missed)} faces found")
    print(
        f"error in % of the eye distance: mean {np.mean(errors):.2f}, median {np.median(errors):.2f}, largest {np.max(errors):.1f}"
    )


if __name__ == "__main__":
    main()
