"""Classes of parsing maps."""

from __future__ import annotations

import numpy as np
import pytest

from wnet_arch.errors import DataError
from wnet_arch.faces import labels


def test_names_follow_celebamask_hq():
    assert [labels.NAMES[i] for i in (0, 1, 4, 5, 11, 13, 18)] == ["background", "skin", "l_eye", "r_eye", "u_lip", "hair", "cloth"]
    assert len(labels.NAMES) == 19
    assert labels.NAMES[labels.R_BROW] == "r_brow"


def test_flip_exchanges_left_and_right_and_undoes_itself():
    row = np.array([[4, 5, 6, 7, 8, 9, 1, 255]], np.uint8)
    flipped = labels.flip(row)
    assert flipped.tolist() == [[255, 1, 8, 9, 6, 7, 4, 5]]
    assert flipped.dtype == np.uint8
    assert np.array_equal(labels.flip(flipped), row)
    assert np.array_equal(labels.FLIP[labels.FLIP], np.arange(256))


def test_check_accepts_classes_and_unknown():
    classes = np.array([[0, 18], [255, 7]], np.uint8)
    assert labels.check(classes, "map.png") is classes


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([[19]], np.uint8), "map.png: value 19 is not a class"),
        (np.array([[254]], np.uint8), "value 254"),
        (np.zeros((2, 2, 3), np.uint8), r"uint8 \(2, 2, 3\)"),
        (np.zeros((2, 2), np.int64), "int64"),
    ],
)
def test_check_names_what_is_wrong(array, said):
    with pytest.raises(DataError, match=said):
        labels.check(array, "map.png")


def test_colorize_gives_every_class_its_own_colour():
    every = np.array([[*range(19), 255]], np.uint8)
    colours = labels.colorize(every)
    assert colours.shape == (1, 20, 3)
    assert colours.dtype == np.uint8
    assert len(np.unique(colours[0], axis=0)) == 20


def test_tables_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        labels.FLIP[0] = 1
