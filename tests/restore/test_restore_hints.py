"""What a photo's look says: JPEG by its tables, noise, grey and sepia; and grey photos stay grey, toned ones keep their tint."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut, coffee

from tests.conftest import drawn_face
from tests.restore.test_restore_turned import UprightFaces, brighter, group
from wnet_arch.data.photos import load_picture
from wnet_arch.restore import hints, orientation, paste, restorer

SEPIA = (1.0, 0.93, 0.75)


def jpeg(image: np.ndarray, quality: int, **options) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, **options)
    return Image.open(file)


def grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(np.array(Image.fromarray(image).convert("L"))[..., None], 3, 2)


def sepia(image: np.ndarray) -> np.ndarray:
    """As programs do it: curves, not a line."""
    light = grey(image) / 255.0
    return np.rint(255 * np.array(SEPIA) * light ** np.array((0.8, 0.95, 1.2))).astype(np.uint8)


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, image.shape[:2])[..., None]
    return (image + noise).clip(0, 255).round().astype(np.uint8)


# JPEG


def test_jpeg_quality_is_that_of_the_encoder():
    for quality in range(1, 101):
        for options in ({}, {"subsampling": 0}):
            assert hints.jpeg_quality(jpeg(astronaut()[:64, :64], quality, **options).quantization[0]) == quality
    camera = np.array(jpeg(astronaut()[:64, :64], 80).quantization[0])
    camera[::3] = camera[::3] * 1.2
    assert 70 <= hints.jpeg_quality(np.random.default_rng(0).permutation(camera)) <= 80


@pytest.mark.parametrize("quality", [30, 75, 98])
def test_tables_survive_opening(tmp_path, quality):
    jpeg(astronaut(), quality).save(tmp_path / "a.jpg", quality="keep")
    Image.fromarray(astronaut()).convert("L").save(tmp_path / "grey.jpg", quality=quality)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(astronaut()).save(tmp_path / "turned.jpg", quality=quality, exif=exif)
    for name in ("a.jpg", "grey.jpg", "turned.jpg"):
        picture = load_picture(tmp_path / name)
        assert hints.read_hints(picture.rgb, picture.tables).jpeg_quality == quality
    Image.fromarray(astronaut()).save(tmp_path / "a.png")
    picture = load_picture(tmp_path / "a.png")
    assert picture.tables == ()
    assert hints.read_hints(picture.rgb, picture.tables).jpeg_quality is None


def test_what_makes_faces_doubtful():
    assert hints.PhotoHints(jpeg_quality=40, noise=12.3).degraded == ["JPEG of quality 40", "noise of 12 grey levels"]
    assert hints.PhotoHints(jpeg_quality=90, noise=2).degraded == hints.PhotoHints().degraded == []


# Noise


@pytest.mark.parametrize("sigma", [4, 8, 15, 20])
def test_noise_is_measured_beside_what_is_in_the_picture(sigma):
    flat = np.full((64, 64, 3), 120, np.uint8)
    slope = np.repeat(np.linspace(40, 210, 200).astype(np.uint8)[None, :, None], 150, 0).repeat(3, 2)
    for image in (astronaut(), coffee(), flat, slope, np.tile(astronaut(), (3, 3, 1))):
        assert hints.noise_level(noisy(image, sigma)) == pytest.approx(sigma, rel=0.12, abs=1)


def test_noise_of_clean_and_unsuitable_pictures():
    assert hints.noise_level(astronaut()) < 2
    assert hints.noise_level(np.full((64, 64, 3), 99, np.uint8)) == 0
    assert hints.noise_level(np.zeros((64, 64, 3), np.uint8)) is None  # clipped
    assert hints.noise_level(noisy(np.full((9, 40, 3), 99, np.uint8), 9)) is None


# Grey and toned


def test_grey_and_toned_photos_are_told_from_colour_through_jpeg():
    for image in (astronaut(), coffee()):
        assert hints.find_tone(image) is None
        assert hints.find_tone(np.array(jpeg(image, 40))) is None
        exact = hints.find_tone(grey(image))
        assert exact.name == "grey"
        assert not exact.curve.any()
        for quality in (75, 90, 98):
            assert hints.find_tone(np.array(jpeg(grey(image), quality))).name == "grey"
            assert hints.find_tone(np.array(jpeg(sepia(image), quality))).name == "toned"
        bluish = np.rint(grey(image) * np.array((0.97, 0.99, 1.0))).astype(np.uint8)
        assert hints.find_tone(bluish).name == "grey"  # with a cast that is hardly seen
        assert hints.find_tone(noisy(sepia(image), 6)).name == "toned"
    assert hints.find_tone(drawn_face(0, 16)[0]) is None  # too small to tell


def test_a_curve_gives_the_luminance_it_was_asked_for():
    tone = hints.find_tone(sepia(astronaut()))
    asked = np.linspace(0, 255, 50)
    assert np.abs(tone.colours(asked) @ hints.LUMA - asked).max() < 1e-9
    whole = np.arange(256.0)
    assert np.array_equal(hints.Tone(np.zeros((2, 3))).colours(whole), np.stack([whole] * 3, -1))
    assert np.array_equal(hints.luminance(np.stack([np.arange(256, dtype=np.uint8)] * 3, -1)), whole)


def colourful():
    """A restorer that makes the upper half of every face redder and brighter."""
    return brighter(added=(70, 20, 5))


@pytest.fixture
def photo(monkeypatch):
    """A photo with faces, and the detector finds them in it whatever colours it has got since."""
    image = np.concatenate([group(10, 20, 12)] * 2)
    found = orientation.find_upright(UprightFaces(), image)
    monkeypatch.setattr(restorer, "find_upright", lambda detector, view, *_: replace(found, photo=view))
    return image


def test_grey_stays_grey_exactly(photo):
    for strength in (1, 0.3):
        found = colourful()
        found.strength = strength
        result = found.restore(grey(photo))
        assert len(result.restored) == 6
        assert (result.image == result.image[..., :1]).all()
        assert (result.image != paste.enlarge(grey(photo), 8)).any()
        for face in result.restored:
            assert (face.sr == face.sr[..., :1]).all()
    face = grey(drawn_face(3, 16)[0])
    result = colourful().restore_face(face)
    assert (result.image == result.image[..., :1]).all()
    assert result.hints.tone.name == "grey"


def test_sepia_keeps_its_tint(photo):
    toned = sepia(photo)
    tone = hints.find_tone(toned)
    result, plain = colourful().restore(toned), paste.enlarge(toned, 8)
    assert result.hints.tone.name == "toned"
    changed = (np.abs(result.image.astype(int) - plain).max(2) > 8) & (result.image < 250).all(2) & (result.image > 5).all(2)
    assert changed.sum() > 1000
    off, off_before = (np.abs(one - tone.colours(hints.luminance(one)))[changed].mean() for one in (result.image, plain))
    assert off < off_before + 1
    brighter_only = paste.enlarge(toned, 8)[changed] + (hints.luminance(result.image) - hints.luminance(plain))[changed, None]
    assert np.abs(brighter_only - result.image[changed]).mean() > 1  # a brighter tint is not the tint, brighter


def test_colour_photos_are_as_before_to_the_bit(photo):
    result = colourful().restore(photo)
    assert result.hints.tone is None
    for face in result.restored:
        assert np.array_equal(face.sr, colourful().networks[face.scale].run([face.lq])[0].sr)


def test_a_coloured_face_in_a_grey_photo_is_not_made_grey(photo):
    """Small among so much grey that the photo as a whole lies near a curve."""
    large = np.full((1200, 1200, 3), 128, np.uint8)
    large[:] = np.arange(1200)[None, :, None] // 5
    large[: photo.shape[0], : photo.shape[1]] = grey(photo)
    face = np.s_[30:40, 30:40]
    large[face] = np.rint(0.5 * large[face] + np.array((120, 60, 30)) * 0.5)
    assert hints.find_tone(large) is not None
    result = colourful().restore(large)
    assert result.hints.tone is None
