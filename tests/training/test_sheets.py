"""The picture of a validation: what is where, pixel by pixel."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from wnet_arch.training.sheets import COLUMNS, ValidationSheet
from wnet_arch.visuals import GAP, NOTE_WIDTH, TITLE_HEIGHT

HIGH, WIDE = 32, 48


def face(seed: int, *without: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"lq": (HIGH // 8, WIDE // 8), "result": (HIGH, WIDE), "gt": (HIGH, WIDE), "parsing": (HIGH, WIDE)}
    images = {key: torch.rand(1, 3, *shape, generator=generator) for key, shape in shapes.items() if key not in without}
    images["result"] = images["result"] * 2 - 0.5  # networks do not clamp
    return images


def tile(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    left, top = NOTE_WIDTH + GAP + column * (WIDE + GAP), TITLE_HEIGHT + row * (HIGH + GAP)
    return picture[top : top + HIGH, left : left + WIDE]


def rounded(image: torch.Tensor) -> np.ndarray:
    return np.rint(image[0].permute(1, 2, 0).numpy().clip(0, 1) * 255).astype(np.uint8)


def test_tiles_are_the_images_rounded_in_the_order_of_the_set():
    sheet = ValidationSheet(2)
    for index in (4, 1, 0, 2):  # shards come in any order
        sheet.add(index, f"face{index}", face(index))
    picture = sheet.image()
    assert picture.dtype == np.uint8
    assert picture.shape == (TITLE_HEIGHT + 2 * (HIGH + GAP) + GAP, NOTE_WIDTH + 5 * (WIDE + GAP) + GAP, 3)
    for row in (0, 1):
        images = face(row)
        small = rounded(images["lq"])
        np.testing.assert_array_equal(tile(picture, row, 0), small.repeat(8, axis=0).repeat(8, axis=1))
        np.testing.assert_array_equal(tile(picture, row, 1), np.asarray(Image.fromarray(small).resize((WIDE, HIGH), Image.BICUBIC)))
        for column, key in ((2, "result"), (3, "gt"), (4, "parsing")):
            np.testing.assert_array_equal(tile(picture, row, column), rounded(images[key]))


def test_columns_are_what_there_is():
    sheet = ValidationSheet(4)
    sheet.add(0, "a", face(0, "gt", "parsing"))
    assert sheet.image().shape[1] == NOTE_WIDTH + 3 * (WIDE + GAP) + GAP
    sheet.add(1, "b", face(1, "parsing"))
    picture = sheet.image()
    assert picture.shape[1] == NOTE_WIDTH + 4 * (WIDE + GAP) + GAP
    assert (tile(picture, 0, 3) == 255).all()
    np.testing.assert_array_equal(tile(picture, 1, 3), rounded(face(1)["gt"]))


def test_titles_and_names_are_written():
    sheet = ValidationSheet(1)
    sheet.add(0, "é" * 40, face(0))
    picture = sheet.image()
    for column in range(len(COLUMNS)):
        left = NOTE_WIDTH + GAP + column * (WIDE + GAP)
        assert picture[:TITLE_HEIGHT, left : left + WIDE].min() < 100
    beside = picture[TITLE_HEIGHT:, :NOTE_WIDTH]
    assert beside.min() < 100
    assert (beside[:, -3:] == 255).all()  # long names end before the images


def test_rows_of_other_processes_are_joined():
    whole, shards = ValidationSheet(3), [ValidationSheet(3) for _ in range(2)]
    for index in range(5):
        whole.add(index, str(index), face(index))
        shards[index % 2].add(index, str(index), face(index))
    shards[0].update(pickle.loads(pickle.dumps(shards[1].rows)))
    np.testing.assert_array_equal(shards[0].image(), whole.image())


def test_it_is_shown_in_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    sheet = ValidationSheet(1)
    sheet.add(0, "face", face(0))
    with SummaryWriter(tmp_path) as writer:
        sheet.write(writer, "validation/val", 20)
        ValidationSheet(1).write(writer, "validation/empty", 20)
    sheet.write(None, "validation/val", 20)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["images"] == ["validation/val"]
    (event,) = events.Images("validation/val")
    assert event.step == 20
    (tmp_path / "sheet.png").write_bytes(event.encoded_image_string)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "sheet.png")), sheet.image())


@pytest.mark.parametrize("faces", [0, 2])
def test_no_more_than_asked_for_is_kept(faces):
    sheet = ValidationSheet(faces)
    for index in range(4):
        sheet.add(index, "face", face(index))
    assert sorted(sheet.rows) == list(range(faces))
