"""Protocols against scikit-image and transcriptions of their rules: luma in integers, windows one by one, 8-bit overflow."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from basicsr.metrics import calculate_metric
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.cli.test_train_command import run_options
from tests.metric_faces import drawn, real, reduced
from wnet_arch import metrics, options
from wnet_arch.errors import DataError, UsageError
from wnet_arch.inference import comparison
from wnet_arch.metrics import protocols


@pytest.fixture(scope="module", params=["drawn", "real"])
def pairs(request):
    gt = drawn(3) if request.param == "drawn" else real(20)
    return [(reduced(image), image) for image in gt]


def luma(rgb: np.ndarray, whole) -> np.ndarray:
    """Y of BT.601 made whole by ``whole``."""
    return whole(16.0 + np.dot(rgb, [65.481, 128.553, 24.966]) / 255.0)


def exact_luma(rgb: np.ndarray, whole) -> np.ndarray:
    """The same in Python's integers, in units of 1/255000. Floats differ from it where Y lies on the border of two levels."""
    up = 127500 if whole is np.round else 0
    values = [16 + (65481 * r + 128553 * g + 24966 * b + up) // 255000 for r, g, b in rgb.reshape(-1, 3).tolist()]
    return np.array(values, np.float64).reshape(rgb.shape[:2])


def windowed_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM with weighted means and squared differences from them in each 11x11 window that lies inside."""
    ramp = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weight = np.outer(ramp, ramp) / np.outer(ramp, ramp).sum()
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (image[top : top + 11, left : left + 11] for image in (x, y))
            mean_a, mean_b = (weight * a).sum(), (weight * b).sum()
            var_a, var_b = (weight * (a - mean_a) ** 2).sum(), (weight * (b - mean_b) ** 2).sum()
            cov = (weight * (a - mean_a) * (b - mean_b)).sum()
            c1, c2 = 2.55**2, 7.65**2
            values.append((2 * mean_a * mean_b + c1) * (2 * cov + c2) / (mean_a**2 + mean_b**2 + c1) / (var_a + var_b + c2))
    return float(np.mean(values))


def skimage_ssim(x: np.ndarray, y: np.ndarray, **options) -> float:
    return structural_similarity(x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, **options)


def test_rgb_is_scikit_images_psnr_and_gaussian_ssim(pairs):
    rgb = protocols.get("rgb")
    for sr, gt in pairs:
        assert rgb.psnr(sr, gt, 8) == pytest.approx(peak_signal_noise_ratio(gt, sr), abs=1e-9)
        assert rgb.ssim(sr, gt, 8) == pytest.approx(skimage_ssim(gt, sr, channel_axis=2), abs=1e-9)


def test_sparnet_is_scikit_image_on_y_rounded_down(pairs):
    sparnet = protocols.get("sparnet")
    for sr, gt in pairs:
        x, y = (luma(image, np.floor) for image in (sr, gt))
        assert sparnet.psnr(sr, gt, 8) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=255), abs=1e-9)
        assert sparnet.ssim(sr, gt, 8) == pytest.approx(skimage_ssim(x, y), abs=1e-9)


def test_dic_is_scikit_image_on_rounded_y_without_eight_pixels(pairs):
    dic = protocols.get("dic")
    for sr, gt in pairs:
        x, y = (luma(image, np.round)[8:-8, 8:-8] for image in (sr, gt))
        for scale in (4, 8):
            assert dic.psnr(sr, gt, scale) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=255), abs=1e-9)
            assert dic.ssim(sr, gt, scale) == pytest.approx(skimage_ssim(x, y), abs=1e-9)


def test_ssim_is_what_its_definition_says_window_by_window(pairs):
    sr, gt = (image[20:70, 30:90] for image in pairs[0])
    for name, whole, border in (("dic", np.round, 8), ("sparnet", np.floor, 0)):
        inner = slice(border, -border or None)
        x, y = (luma(image, whole)[inner, inner] for image in (sr, gt))
        assert protocols.get(name).ssim(sr, gt, 8) == pytest.approx(windowed_ssim(x, y), abs=1e-9)


def test_dic_wrap_is_ssim_after_multiplying_bytes_by_255(pairs):
    for sr, gt in pairs:
        x, y = (luma(image, np.round).astype(np.uint8)[8:-8, 8:-8] * np.uint8(255) for image in (sr, gt))
        assert x.dtype == np.uint8
        wrapped = protocols.get("dic-wrap")
        assert wrapped.ssim(sr, gt, 8) == pytest.approx(skimage_ssim(x.astype(float), y.astype(float)), abs=1e-9)
        assert wrapped.ssim(sr, gt, 8) != protocols.get("dic").ssim(sr, gt, 8)
        assert wrapped.psnr(sr, gt, 8) == protocols.get("dic").psnr(sr, gt, 8)


def test_luma_is_that_of_exact_arithmetic_but_for_a_few_pixels_in_a_million():
    rgb = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    for name, whole in (("dic", np.round), ("sparnet", np.floor)):
        ours = protocols.get(name).channels(rgb)[..., 0]
        off = ours != exact_luma(rgb, whole)
        assert off.mean() < 5e-4
        assert np.abs(ours - exact_luma(rgb, whole)).max() <= 1


@pytest.mark.parametrize(
    ("colour", "down", "nearest"),
    [
        ((255, 255, 255), 235, 235),  # exact whole values
        ((85, 85, 85), 89, 89),
        ((0, 0, 0), 16, 16),
        ((1, 0, 0), 16, 16),  # 16.257
        ((0, 1, 0), 16, 17),  # 16.504
        ((3, 2, 1), 17, 18),  # 17.877
    ],
)
def test_rounding_of_luma(colour, down, nearest):
    patch = np.full((40, 40, 3), colour, np.uint8)
    white = np.full_like(patch, 255)
    for name, y in (("sparnet", down), ("dic", nearest)):
        expected = inf if y == 235 else 20 * np.log10(255 / (235 - y))
        assert protocols.get(name).psnr(patch, white, 8) == pytest.approx(expected)


def test_borders_count_only_where_the_protocol_says_so():
    gt = drawn(1)[0]
    framed = np.full_like(gt, 255)
    framed[8:-8, 8:-8] = gt[8:-8, 8:-8]
    for name in ("dic", "dic-wrap"):
        assert protocols.get(name).psnr(framed, gt, 8) == inf
        assert protocols.get(name).ssim(framed, gt, 8) == 1
    for name in ("sparnet", "rgb"):
        assert protocols.get(name).psnr(framed, gt, 8) < 30
    framed[8, 8] = 255 - framed[8, 8]
    assert protocols.get("dic").psnr(framed, gt, 8) < inf


@pytest.mark.parametrize(
    ("sr", "message"),
    [
        (np.zeros((128, 120, 3), np.uint8), "SR is 120x128, GT is 128x128"),
        (np.zeros((128, 128, 3), np.float32), "SR must be uint8 RGB (H, W, 3), not float32 (128, 128, 3)"),
        (np.zeros((128, 128), np.uint8), "not uint8 (128, 128)"),
        ([[0]], "not list"),
    ],
)
def test_other_images_end_in_one_line(sr, message):
    with pytest.raises(DataError) as error:
        protocols.get("dic").ssim(sr, np.zeros((128, 128, 3), np.uint8), 8)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_small_an_image_and_a_strange_scale_are_refused():
    small = np.zeros((26, 40, 3), np.uint8)
    with pytest.raises(DataError, match="40x26 are too small, it needs 27"):
        protocols.get("dic").ssim(small, small, 8)
    for scale in (0, 1.5, "8", True):
        with pytest.raises(UsageError, match="scale must be a whole number"):
            protocols.get("dic").psnr(small, small, scale)


def test_unknown_names_list_the_nearest():
    assert protocols.NAMES == ("dic", "dic-wrap", "sparnet", "rgb")
    with pytest.raises(UsageError, match="no protocol is called 'sparnett'; did you mean 'sparnet'"):
        protocols.get("sparnett")
    with pytest.raises(UsageError, match="did you mean 'protocol'"):
        metrics.create("protocl")
    with pytest.raises(UsageError, match="no option 'protocoll'; did you mean 'protocol'"):
        metrics.create("protocol", protocoll="dic")


def test_metric_measures_many_and_names_its_protocol(pairs):
    sr, gt = map(np.stack, zip(*pairs))
    metric = metrics.create("protocol", protocol="sparnet", scale=8)
    values = metric.measure(sr, gt)
    assert list(values) == list(metric.units) == ["psnr", "ssim"]
    assert values["psnr"].tolist() == [protocols.get("sparnet").psnr(*pair, 8) for pair in pairs]
    assert values["ssim"].tolist() == [protocols.get("sparnet").ssim(*pair, 8) for pair in pairs]
    assert "rounded down" in metric.backbone
    parts = metric.describe(sr)
    assert len(parts) == len(pairs)
    assert len(parts[1:3]) == 2
    with pytest.raises(DataError, match=f"there are {len(pairs) - 1} SR images and {len(pairs)} GT"):
        metric.measure(sr[1:], gt)
    with pytest.raises(DataError, match="there is none"):
        metric.measure([], [])
    with pytest.raises(DataError, match="pair 0: SR is 64x128, GT is 128x128"):
        metric.measure([sr[0][:, :64]], [gt[0]])


@pytest.mark.parametrize("kind", ["psnr", "ssim"])
def test_framework_finds_them_and_gives_bgr(pairs, kind):
    sr, gt = pairs[0]
    data = {"img": sr[..., ::-1], "img2": gt[..., ::-1]}
    for name in protocols.NAMES:
        expected = getattr(protocols.get(name), kind)(sr, gt, 8)
        assert calculate_metric(data, {"type": f"calculate_protocol_{kind}", "protocol": name, "better": "higher"}) == expected


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"protocl": "dic"}, "calculate_protocol_psnr has no option 'protocl'; did you mean 'protocol'?"),
        ({"crop_border": 8}, "has no option 'crop_border'"),
        ({"better": "lower"}, "calculate_protocol_psnr: better must be higher, not lower"),
        ({"protocol": ["dic"]}, "protocol takes one value"),
        ({"protocol": "spernet"}, "protocol cannot be 'spernet'; did you mean 'sparnet'?"),
    ],
)
def test_wrong_options_in_yaml_end_in_one_line(block, message):
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(UsageError) as error:
        calculate_metric({"img": image, "img2": image}, {"type": "calculate_protocol_psnr", **block})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_option_file_is_checked_before_a_run(face_set):
    opt = run_options(face_set)
    opt["val"]["metrics"] = {
        "psnr": {"type": "calculate_protocol_psnr", "protocol": "dic", "scale": 8, "better": "higher"},
        "lpips": {"type": "calculate_lpips", "better": "lower"},
        "landmarks": {"type": "calculate_landmark_distance", "box": "gt", "better": "lower"},
        "identity": {"type": "calculate_identity_similarity", "missing": 0.0},
        "parts": {"type": "calculate_parsing_iou", "part": "mouth"},
    }
    options.check(opt, is_train=True)
    opt["val"]["metrics"]["lpips"]["better"] = "higher"
    with pytest.raises(UsageError, match=r"val\.metrics\.lpips: calculate_lpips: better must be lower, not higher"):
        options.check(opt, is_train=True)
    del opt["val"]["metrics"]["lpips"]["better"]
    with pytest.raises(UsageError, match=r"val\.metrics\.lpips: add `better: lower`"):
        options.check(opt, is_train=True)


def test_sheet_says_which_protocol_and_options():
    blocks = {
        "psnr": {"type": "calculate_protocol_psnr", "protocol": "sparnet", "better": "higher"},
        "old": {"type": "calculate_psnr", "crop_border": 8, "test_y_channel": True},
    }
    text = "psnr: calculate_protocol_psnr, protocol sparnet; old: calculate_psnr, Y of BT.601, border 8"
    assert comparison._protocol(blocks) == text
