"""Face detectors behind one interface."""

from __future__ import annotations

import pickle
import sys
import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.faces import detection, mtcnn, retinaface
from wnet_arch.faces.detection import Detection, choose
from wnet_arch.faces.detectors import DETECTORS, create_detector

#: In skimage's picture of an astronaut: eyes, tip of the nose, corners of the mouth; from dlib's 68 points, checked by eye.
ASTRONAUT = np.array(((203, 101), (247, 104), (225, 127), (201, 139), (246, 141)), float)


def detector_or_skip(name: str):
    if name == "dlib":
        pytest.importorskip("dlib", reason="dlib is not installed (extra 'landmarks')")
    try:
        return create_detector(name, download=False)
    except WeightsError as error:
        pytest.skip(f"not in the cache: {error}")


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_finds_the_astronaut(name):
    detector = detector_or_skip(name)
    assert detector.name == name
    (face,) = detector.detect(astronaut())
    left, top, right, bottom = face.box
    assert 160 < left < 200 < 250 < right < 285
    assert 50 < top < 100 < 150 < bottom < 185
    if name == "dlib":
        assert face.five is None
    else:
        assert np.abs(face.five - ASTRONAUT).max() < 6
    assert detector.detect(np.full((200, 200, 3), 127, np.uint8)) == []


@pytest.mark.parametrize("name", ["dlib", "mtcnn"])
@pytest.mark.parametrize("factor", [0.5, 3])
def test_places_are_those_of_the_photo_whatever_its_size(name, factor):
    detector = detector_or_skip(name)
    face = choose(detector.detect(astronaut()), "largest", 512, 512)
    resized = cv2.resize(astronaut(), None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    again = choose(detector.detect(resized), "largest", *resized.shape[:2])
    assert np.abs(np.array(again.box) / factor - face.box).max() < 20  # dlib's boxes come in steps of a fifth
    if face.five is not None:
        assert np.abs((again.five + 0.5) / factor - 0.5 - face.five).max() < 4


@pytest.mark.parametrize("name", ["dlib", "mtcnn"])
def test_face_that_fills_the_photo_is_found(name):
    photo = np.ascontiguousarray(astronaut()[78:172, 180:270])
    (face,) = detector_or_skip(name).detect(photo)
    middle = np.array(face.box).reshape(2, 2).mean(0)
    assert np.abs(middle - (45, 47)).max() < 15


def test_detectors_can_be_sent_to_workers():
    detector = detector_or_skip("mtcnn")
    detector.detect(astronaut())
    (face,) = pickle.loads(pickle.dumps(detector)).detect(astronaut())
    assert np.array_equal(face.five, detector.detect(astronaut())[0].five)
    assert len(pickle.dumps(detector)) < 1000


def test_faces_come_largest_first_in_the_photo_s_pixels(monkeypatch):
    class Two(detection.Detector):
        name = "two"

        def _find(self, rgb):
            assert rgb.shape[:2] == (320, 640)  # the photo twice as large
            five = np.full((5, 2), 9.5, np.float32)
            return [Detection((0, 0, 20, 20), 0.9), Detection((20, 40, 60, 80), 0.5, five)]

    large, small = Two().detect(np.zeros((160, 320, 3), np.uint8))
    assert large.box == (10, 20, 30, 40)
    assert small.box == (0, 0, 10, 10)
    assert large.five.tolist() == [[4.5, 4.5]] * 5  # 9.5 is the middle of the pixels 9 and 10: of pixel 4 and 5 in the photo


def test_photo_is_tried_again_with_its_border_repeated():
    class Enclosed(detection.Detector):
        name = "enclosed"

        def _find(self, rgb):
            return [Detection((150, 100, 350, 300), 1.0)] if rgb.shape[0] > 400 else []

    photo, margin = np.zeros((400, 500, 3), np.uint8), 125
    (face,) = Enclosed().detect(photo)
    assert face.box == (150 - margin, 100 - margin, 350 - margin, 300 - margin)


def test_long_strips_get_a_border_that_fits_into_memory():
    class White(detection.Detector):
        name, calls = "white", 0

        def _find(self, rgb):
            self.calls += 1
            rows, columns = np.nonzero(rgb[..., 0] > 127)
            return [Detection((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), 1.0)] if self.calls > 1 else []

    photo = np.zeros((400, 20_000, 3), np.uint8)
    photo[100:300, 8000:8400] = 255
    tracemalloc.start()
    (face,) = White().detect(photo)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.allclose(face.box, (8000, 100, 8400, 300), atol=40)  # a pixel and a half of the small copy
    assert peak < 3 * photo.size


def test_choice_among_several():
    faces = [Detection((0, 0, 50, 50), 1), Detection((80, 80, 120, 120), 1), Detection((90, 90, 110, 110), 1)]
    assert choose(faces, "largest", 200, 200) is faces[0]
    assert choose(faces, "centre", 200, 200) is faces[1]  # both are in the middle: the larger
    assert choose(faces, "centre", 40, 40) is faces[0]
    assert choose([], "largest", 9, 9) is None
    large_pattern = Detection((0, 0, 150, 150), 0.2)
    assert choose([large_pattern, *faces], "largest", 200, 200) is faces[0]
    assert choose([large_pattern], "largest", 200, 200) is large_pattern
    with pytest.raises(UsageError, match="did you mean 'largest'"):
        choose(faces, "larges", 9, 9)


def test_wrong_names_and_missing_packages_are_one_line(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="no face detector is called 'mtcn'; did you mean 'mtcnn'"):
        create_detector("mtcn")
    monkeypatch.setenv("WNET_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="wnet weights fetch retinaface-resnet50"):
        create_detector("retinaface", download=False)
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(WeightsError, match=r"pip install 'dlib-bin>=[\d.]+'`, or choose another"):
        create_detector("dlib")


def test_mtcnn_cuts_windows_like_a_plain_loop():
    rgb = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    window = mtcnn._window(rgb, np.array((-4.0, 10.0, 8.0, 22.0)), 12)
    for y in range(12):
        for x in range(12):
            inside = 0 <= y + 10 < 20 and 0 <= x - 4 < 30
            assert (window[y, x] == (rgb[y + 10, x - 4] if inside else 0)).all()


def test_mtcnn_judges_windows_in_batches(monkeypatch):
    """Memory does not grow with the number of windows; what is found does not depend on the batches."""
    detector, photo = detector_or_skip("mtcnn"), np.tile(astronaut()[:300, 100:400], (2, 2, 1))
    whole = detector.find(photo)
    assert len(whole) == 4
    judge, sizes = mtcnn.OutputNet.forward, []
    monkeypatch.setattr(mtcnn.OutputNet, "forward", lambda net, x: (sizes.append(len(x)), judge(net, x))[1])
    monkeypatch.setattr(mtcnn, "_BATCH", 3)
    parts = detector.find(photo)
    assert len(sizes) > 1
    assert max(sizes) <= 3
    for one, other in zip(whole, parts):
        assert np.allclose(one.box, other.box, atol=1e-2)
        assert np.allclose(one.five, other.five, atol=1e-2)


def test_mtcnn_drops_boxes_inside_surer_ones():
    boxes = np.array(((0, 0, 100, 100), (20, 20, 60, 60), (200, 0, 300, 100), (90, 0, 190, 100)), np.float32)
    assert mtcnn._without_nested(boxes, np.array((0.9, 0.8, 0.95, 0.7))) == [2, 0, 3]
    assert mtcnn._without_nested(np.zeros((0, 4), np.float32), np.zeros(0)) == []


def test_mtcnn_weights_of_something_else_are_refused(tmp_path):
    for name in ("pnet.pt", "rnet.pt", "onet.pt"):
        torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / name)
    with pytest.raises(WeightsError, match=r"pnet\.pt does not hold the weights of MTCNN"):
        mtcnn._networks(str(tmp_path), "cpu")
    (tmp_path / "pnet.pt").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(WeightsError, match="does not hold"):
        mtcnn._networks.__wrapped__(str(tmp_path), "cpu")


def test_retinaface_is_loaded_and_its_rows_are_read(tmp_path, monkeypatch):
    """With random weights: that file, network and decoding fit together. The published weights were not to be had."""
    from facexlib.detection.retinaface import RetinaFace

    torch.manual_seed(0)
    file = tmp_path / "detection_Resnet50_Final.pth"
    with pytest.warns(UserWarning, match="pretrained|weight enum"):
        state = RetinaFace(network_name="resnet50", device=torch.device("cpu")).state_dict()
    for name, value in state.items():  # all windows are faces, neither moved nor scaled
        if "Head" in name:
            value.zero_()
    torch.save({f"module.{name}": value for name, value in state.items()}, file)
    monkeypatch.setattr("wnet_arch.weights.resolve", lambda *args, **options: file)
    monkeypatch.setattr(retinaface, "_THRESHOLD", 0.4)
    detector = create_detector("retinaface")
    found = detector.detect(np.random.default_rng(0).integers(0, 255, (320, 320, 3), dtype=np.uint8))
    assert found[0].area == pytest.approx(512**2, rel=1e-3)  # the largest of the network's windows
    assert min(face.area for face in found) == pytest.approx(16**2, rel=1e-3)
    assert found[0].five.shape == (5, 2)
    row = np.concatenate(((10, 20, 110, 140, 0.99), np.arange(10))).astype(np.float32)[None]
    monkeypatch.setattr(RetinaFace, "detect_faces", lambda self, image, conf_threshold: row if image[0, 0, 0] == 3 else row[:0])
    photo = np.zeros((320, 400, 3), np.uint8)
    photo[..., 2] = 3  # blue, which comes first for OpenCV
    (face,) = detector.detect(photo)
    assert face.box == (10, 20, 110, 140)
    assert face.five.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    torch.save({"conv": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match="does not hold the weights of facexlib's RetinaFace"):
        retinaface._network.__wrapped__(str(file), "cpu")
