"""LR faces of photos from life: each step does what it says, and every draw follows from the seed and the place in the run."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_train_command import run_options, write_options
from tests.conftest import drawn_face, load_script
from wnet_arch import options
from wnet_arch.cli import wnet
from wnet_arch.data.degradation import KERNELS, Degradation, compress, line_kernel
from wnet_arch.data.face_lmdb import reduce_bicubic
from wnet_arch.data.face_parsing_dataset import PairedFaceParsingDataset
from wnet_arch.data.sampler import Draw, SeededDataset, seeded
from wnet_arch.errors import UsageError
from wnet_arch.faces.align import Tilted

NOTHING = dict.fromkeys(("clean", "blur", "noise", "jpeg", "grey", "tint"), 0) | {"kernels": ("bicubic",), "same_size": 1}


def only(**changes) -> Degradation:
    return Degradation(**{**NOTHING, **changes})


def drawn(degradation: Degradation, count: int, scale: int = 4, size: int = 64) -> list[tuple[np.ndarray, np.ndarray]]:
    found = []
    for index in range(count):
        with seeded(3, index):
            found.append(degradation(drawn_face(index, size)[0], scale))
    return found


def noise_of(pairs, scale: int = 4) -> np.ndarray:
    return np.stack([lq.astype(float) - reduce_bicubic(gt, scale) for gt, lq in pairs])


def test_clean_faces_are_those_of_the_protocols():
    for degradation in (only(), only(clean=1, blur=1, noise=1, jpeg=1)):
        for index, (gt, lq) in enumerate(drawn(degradation, 4)):
            assert np.array_equal(gt, drawn_face(index)[0])
            assert np.array_equal(lq, reduce_bicubic(gt, 4))


@pytest.mark.parametrize("ratio", [0.625, 1.25])
def test_a_face_of_another_size_in_the_photo_is_resampled_from_there(ratio):
    """As `wnet restore` cuts it out of the photo: the reduced face stands in one, and its frame is taken from it."""
    degradation = only(same_size=0, photo_side=(ratio, ratio))
    for gt, lq in drawn(degradation, 4, size=128):
        side = round(32 * ratio)
        photo = np.full((64, 64, 3), 128, np.uint8)
        photo[9 : 9 + side, 5 : 5 + side] = np.asarray(Image.fromarray(gt).resize((side, side), Image.Resampling.BICUBIC))
        restored_from = Tilted(np.array(((1 / side, 0, -5 / side), (0, 1 / side, -9 / side)))).image(photo, 32)
        assert lq.shape == (32, 32, 3)
        assert np.abs(lq[3:-3, 3:-3].astype(int) - restored_from[3:-3, 3:-3]).max() <= 2
        assert np.abs(lq.astype(int) - reduce_bicubic(gt, 4)).mean() > 0.3


def test_as_many_faces_have_another_size_as_said():
    same = np.mean([np.array_equal(lq, reduce_bicubic(gt, 4)) for gt, lq in drawn(only(same_size=0.4), 300, size=64)])
    assert same == pytest.approx(0.4, abs=0.1)


def test_shares_are_shares():
    pairs = drawn(only(clean=0.3, jpeg=1), 400, size=32)
    clean = np.mean([np.array_equal(lq, reduce_bicubic(gt, 4)) for gt, lq in pairs])
    assert clean == pytest.approx(0.3, abs=0.07)


@pytest.mark.parametrize("sigma", [2.0, 9.0])
@pytest.mark.parametrize("grey", [0, 1])
def test_gaussian_noise_has_its_sigma(sigma, grey):
    noise = noise_of(drawn(only(noise=1, noise_poisson=0, noise_sigma=(sigma, sigma), noise_grey=grey), 60))
    assert noise.std() == pytest.approx(sigma, rel=0.06)
    assert abs(noise.mean()) < 0.3
    between = np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]
    assert between == pytest.approx(grey, abs=0.06)


def test_poisson_noise_grows_with_light():
    pairs = drawn(only(noise=1, noise_poisson=1, poisson_scale=(1, 1), noise_grey=0), 120)
    light = np.stack([reduce_bicubic(gt, 4) for gt, _ in pairs]).astype(float)
    noise = noise_of(pairs)
    dark, bright = noise[(light > 30) & (light < 70)], noise[(light > 150) & (light < 210)]
    assert bright.std() > 1.5 * dark.std()


def test_blur_is_given_in_pixels_of_the_photo():
    """A Gaussian of sigma 1 in the LR image, found again from how it spreads an edge; at both scales."""
    edge = np.repeat(np.where(np.arange(128) < 64, 40, 220)[None, :, None], 128, axis=0).repeat(3, axis=2).astype(np.uint8)
    for scale in (4, 8):
        degradation = only(blur=1, blur_motion=0, blur_isotropic=1, blur_sigma=(1.0, 1.0), kernels=("box",))
        with seeded(1):
            _, lq = degradation(edge, scale)
        steps = np.diff(lq[lq.shape[0] // 2, :, 0].astype(float))
        place = np.arange(len(steps)) - (len(steps) - 1) / 2
        assert steps.sum() == pytest.approx(180, abs=1)
        # a box of one pixel and differences over one add 1/12 each
        assert np.sqrt((steps * place**2).sum() / steps.sum() - 1 / 6) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("length", "angle"), [(9.0, 0.0), (9.0, np.pi / 2), (12.5, 0.6), (1.0, 1.0)])
def test_a_camera_that_moved_draws_a_line(length, angle):
    kernel = line_kernel(length, angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]] - kernel.shape[0] // 2
    assert abs((kernel * x).sum()) < 0.05
    assert abs((kernel * y).sum()) < 0.05
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    assert np.sqrt((kernel * along**2).sum() * 12) == pytest.approx(length + 0.5, abs=1.0)
    assert (kernel * across**2).sum() < 0.3


def test_every_filter_is_drawn():
    gt = drawn_face(0)[0]
    wanted = {name: np.asarray(Image.fromarray(gt).resize((16, 16), Image.Resampling[name.upper()])) for name in KERNELS}
    found = set()
    for index in range(60):
        with seeded(index):
            _, lq = only(kernels=KERNELS)(gt, 4)
        found.add(next(name for name, image in wanted.items() if np.array_equal(image, lq)))
    assert found == set(KERNELS)


@pytest.mark.parametrize("half_colour", [False, True])
def test_jpeg_is_that_of_the_photo_around_the_face(half_colour):
    """Cut out of a larger photo that was compressed as a whole: equal where blocks do not reach over the face's border."""
    photo = np.asarray(Image.fromarray(drawn_face(1, 96)[0]))
    for place in ((0, 0), (5, 11), (16, 3)):
        file = io.BytesIO()
        face = photo[16 : 16 + 48, 32 : 32 + 48]
        around = np.zeros((128, 128, 3), np.uint8)
        around[place[0] : place[0] + 48, place[1] : place[1] + 48] = face
        Image.fromarray(around).save(file, "JPEG", quality=40, subsampling=2 if half_colour else 0)
        whole = np.asarray(Image.open(file))[place[0] : place[0] + 48, place[1] : place[1] + 48]
        ours = compress(face, 40, half_colour, place)
        inner = tuple(slice(-p % 16 + 2, 48 - (p + 48) % 16 - 2) for p in place)
        assert np.array_equal(ours[inner], whole[inner])
        assert not np.array_equal(ours, face)
    assert not np.array_equal(compress(face, 40, half_colour, (0, 0)), compress(face, 40, half_colour, (3, 5)))


def test_quality_decides_how_much_is_lost():
    lost = [np.abs(noise_of(drawn(only(jpeg=1, jpeg_quality=(q, q)), 20))).mean() for q in (95, 75, 30)]
    assert lost[0] < lost[1] < lost[2]


def test_black_and_white_photos_and_others_of_another_look_have_such_references():
    for gt, lq in drawn(only(grey=1), 5):
        assert all((image == image[..., :1]).all() for image in (gt, lq))
    for index, (gt, lq) in enumerate(drawn(only(tint=1), 5)):
        assert not np.array_equal(gt, drawn_face(index)[0])
        assert np.array_equal(lq, reduce_bicubic(gt, 4))


def test_draws_follow_from_the_seed_and_the_place_in_training_and_from_the_face_in_validation(face_set):
    opt = {"dataroot": str(face_set), "scale": 8, "degradation": {}, "use_hflip": True}
    train = PairedFaceParsingDataset({**opt, "phase": "train"})
    one, other = (SeededDataset(train, 5) for _ in range(2))
    same = [torch.equal(one[Draw(2, 1, place)]["lq"], other[Draw(2, 1, place)]["lq"]) for place in range(8)]
    assert all(same)
    different = {one[Draw(2, 1, place)]["lq"].numpy().tobytes() for place in range(8)}
    assert len(different) >= 6
    val = PairedFaceParsingDataset({**opt, "phase": "val"})
    first = [val[index]["lq"] for index in range(4)]
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert all(torch.equal(val[index]["lq"], first[index]) for index in (3, 1, 0, 2))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    plain = PairedFaceParsingDataset({**opt, "phase": "val", "degradation": None})
    assert not all(torch.equal(plain[index]["lq"], first[index]) for index in range(4))
    assert all(torch.equal(plain[index]["parsing"], val[index]["parsing"]) for index in range(4))


def test_at_scale_1_lr_faces_are_hr_faces_degraded_and_nothing_else_makes_them(face_set):
    """A set needs no LR faces of that scale, and whoever forgets the block is told so."""
    opt = {"dataroot": str(face_set), "scale": 1, "phase": "val"}
    with pytest.raises(UsageError, match=r"at scale 1 .* the same, and nothing can be learned: add degradation: \{\}"):
        PairedFaceParsingDataset(opt)
    clean, degraded = ({"clean": share, "same_size": 1, "grey": 0, "tint": 0} for share in (1, 0))
    for sample in PairedFaceParsingDataset({**opt, "degradation": clean}):
        assert torch.equal(sample["lq"], sample["gt"])
    samples = list(PairedFaceParsingDataset({**opt, "degradation": degraded}))
    assert all(sample["lq"].shape == sample["gt"].shape for sample in samples)
    assert not any(torch.equal(sample["lq"], sample["gt"]) for sample in samples)


def test_cached_faces_are_degraded_anew(face_set):
    opt = {"dataroot": str(face_set), "scale": 8, "degradation": {"clean": 0}, "phase": "train"}
    plain, cached = (SeededDataset(PairedFaceParsingDataset({**opt, "cache": cache}), 1) for cache in (False, True))
    for epoch in (0, 1):
        draws = [Draw(index, epoch, index) for index in range(3)]
        assert all(torch.equal(plain[draw]["lq"], cached[draw]["lq"]) for draw in draws)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"jepg": 1}, "degradation.jepg: PairedFaceParsingDataset has no such option; did you mean 'jpeg'"),
        ({"jpeg_quality": [0, 50]}, "two whole numbers from 1 to 100, the smaller one first, not [0, 50]"),
        ({"jpeg_quality": [90, 50]}, "the smaller one first, not [90, 50]"),
        ({"jpeg_quality": 50}, "two whole numbers"),
        ({"blur_sigma": [0, 1]}, "two numbers from 0.01 to 10"),
        ({"noise": 1.5}, "datasets.train.degradation.noise must be a number from 0 to 1, not 1.5"),
        ({"kernels": []}, "a list of one or more of bicubic, bilinear"),
        ({"kernels": ["cubic"]}, "a list of one or more of bicubic, bilinear"),
        (True, "datasets.train.degradation must be a block of options"),
        ({}, None),
        ({"clean": 1, "kernels": ["box"], "gamma": [1, 1.0]}, None),
    ],
)
def test_options_out_of_range_end_in_validation(face_set, block, said):
    opt = run_options(face_set)
    opt["datasets"]["train"]["degradation"] = block
    found = options.list_everything(opt, is_train=True)
    assert len(found) == bool(said), found
    assert all(said in line for line in found)


def test_the_schema_knows_every_attribute():
    from dataclasses import asdict

    from wnet_arch.options.blocks import DegradationBlock

    defaults = {name: field.default for name, field in DegradationBlock.model_fields.items()}
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in defaults.items()} == asdict(Degradation())


@pytest.mark.parametrize(("words", "said"), [(["--faces", "0"], "--faces 0: must be 1"), (["--dataset", "val"], "has no HR faces")])
def test_sheets_that_cannot_be_drawn_are_refused(own_face_set, tmp_path, words, said):
    opt = run_options(own_face_set)
    io_backend = {"type": "lmdb"}
    opt["datasets"]["val"] = {
        "name": "lr", "type": "SingleImageDataset", "dataroot_lq": str(own_face_set / "lq_x8.lmdb"), "io_backend": io_backend,
    }  # fmt: skip
    file = write_options(tmp_path / "run.yml", opt)
    with pytest.raises(UsageError, match=said):
        wnet._main(["sheet", "-opt", str(file), "-o", str(tmp_path / "s.png"), *words])
    assert not (tmp_path / "s.png").exists()


def test_a_sheet_shows_what_a_training_draws(face_set, tmp_path, capsys):
    from wnet_arch.visuals import GAP, NOTE_WIDTH, TITLE_HEIGHT

    opt = run_options(face_set)
    opt["datasets"]["train"]["degradation"] = {"clean": 0}
    file = write_options(tmp_path / "a.yml", opt)
    assert wnet._main(["sheet", "-opt", str(file), "-o", str(tmp_path / "s.png"), "--faces", "2"]) == 0
    assert "datasets.train" in capsys.readouterr().out
    picture = np.asarray(Image.open(tmp_path / "s.png"))
    data = SeededDataset(PairedFaceParsingDataset({**opt["datasets"]["train"], "phase": "train", "scale": 8}), opt["manual_seed"])
    for column, epoch in ((1, 0), (4, 3)):
        lq = (data[Draw(0, epoch, 0)]["lq"].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
        left = NOTE_WIDTH + GAP + column * (128 + GAP)
        tile = picture[TITLE_HEIGHT : TITLE_HEIGHT + 128, left : left + 128]
        assert np.array_equal(tile[8::16, 8::16], lq)


def test_shipping_compares_weights_on_degraded_faces_and_says_what_was_done_to_them(face_set):
    ship = load_script("zoo/ship_weights")
    opt = {**run_options(face_set), "scale": 8, "manual_seed": 1}
    plain = ship.pairs_of(str(face_set), 3, opt)
    assert all(np.array_equal(lq, reduce_bicubic(gt, 8)) for lq, gt in plain)
    opt["datasets"]["train"].update(degradation={"clean": 0}, jitter={"shift": 0.1})
    degraded = ship.pairs_of(str(face_set), 3, opt)
    assert not any(np.array_equal(lq, reduce_bicubic(gt, 8)) for lq, gt in degraded)
    data = PairedFaceParsingDataset({"dataroot": str(face_set), "scale": 8, "phase": "val", "degradation": {"clean": 0}})
    assert all(
        np.array_equal(lq, _bytes(data[i]["lq"])) and np.array_equal(gt, _bytes(data[i]["gt"]))
        for i, (lq, gt) in enumerate(degraded)
    )
    opt["train"].setdefault("scheduler", {"type": "MultiStepLR"})
    known = ship.facts(opt, ship.LAST, "a CPU")
    assert (known["degradation"], known["jitter"]) == ('{"clean": 0}', '{"shift": 0.1}')


def _bytes(image: torch.Tensor) -> np.ndarray:
    return (image.numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
