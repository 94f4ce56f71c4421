"""Landmarks that are read from files."""

from __future__ import annotations

import numpy as np
import pytest

from wnet_arch.errors import DataError
from wnet_arch.faces.landmark_files import LandmarkFile, sha256
from wnet_arch.faces.landmarks import five_points

POINTS = np.arange(136).reshape(68, 2) + 0.25
HEADER = "name,native," + ",".join(f"x{i},y{i}" for i in range(68))


def csv_file(path, *rows: str, header: str = HEADER):
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def row(name: str, points=POINTS) -> str:
    return f"{name},9," + ",".join(str(v) for v in np.ravel(points))


def pts(points) -> str:
    return "version: 1\nn_points:  68\n{\n" + "".join(f"{x} {y}\n" for x, y in points) + "}\n"


def celeba(*lines: str, count: int) -> str:
    return f"{count}\nlefteye_x lefteye_y righteye_x righteye_y nose_x nose_y ...\n" + "".join(f"{line}\n" for line in lines)


def test_csv(tmp_path):
    file = LandmarkFile(csv_file(tmp_path / "points.csv", row("a"), row("b.jpg", POINTS + 1)))
    assert (len(file), file.count) == (2, 68)
    face = file.find(None, "b.png")
    np.testing.assert_allclose(face.points, POINTS + 1)
    np.testing.assert_allclose(face.five, five_points(POINTS + 1))
    assert face.points.dtype == np.float32
    assert file.find(None, "folder/a.jpg").points[0].tolist() == [0.25, 1.25]
    assert file.find(None, "c.jpg") is None


def test_dots_in_names_are_no_suffixes(tmp_path):
    file = LandmarkFile(
        csv_file(tmp_path / "points.csv", row("anna.1"), row("anna.2", POINTS + 1), row("Dr. No 1.5.jpg", POINTS + 2))
    )
    assert file.find(None, "anna.2").points[0].tolist() == [1.25, 2.25]
    assert file.find(None, "anna.1.png").points[0].tolist() == [0.25, 1.25]
    assert file.find(None, "x/Dr. No 1.5.webp").points[0].tolist() == [2.25, 3.25]
    assert file.find(None, "anna") is None


def test_columns_are_found_by_name(tmp_path):
    header = "y0,x0,name," + ",".join(f"x{i},y{i}" for i in range(1, 5))
    file = LandmarkFile(csv_file(tmp_path / "five.csv", "2,1,me,3,4,5,6,7,8,9,10", header=header))
    face = file.find(None, "me.jpg")
    assert face.points is None
    assert face.five.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]


def test_pts_count_from_one(tmp_path):
    for folder in ("trainset", "testset"):
        (tmp_path / folder).mkdir()
    (tmp_path / "trainset" / "1_1.pts").write_text(pts(POINTS + 1))
    (tmp_path / "testset" / "2_1.pts").write_text(pts(POINTS))
    file = LandmarkFile(tmp_path)
    assert len(file) == 2
    hash_of_two = sha256(tmp_path)
    (tmp_path / "testset" / "._2_1.pts").write_bytes(b"\0\5\x16\7\0\2\xe9")  # macOS's
    (tmp_path / "below.pts").mkdir()
    assert (len(LandmarkFile(tmp_path)), sha256(tmp_path)) == (2, hash_of_two)
    (tmp_path / "testset" / "3_1.PTS").write_bytes(b"version: 1 \xe9")
    with pytest.raises(DataError, match=r"3_1\.PTS is no file of landmarks: 'utf-8'"):
        LandmarkFile(tmp_path)
    (tmp_path / "testset" / "3_1.PTS").unlink()
    np.testing.assert_allclose(file.find(None, "trainset/1_1.jpg").points, POINTS)
    before = sha256(tmp_path)
    (tmp_path / "testset" / "2_1.pts").write_text(pts(POINTS + 1))
    assert sha256(tmp_path) != before


def test_celeba_list(tmp_path):
    path = tmp_path / "list_landmarks_align_celeba.txt"
    path.write_text(celeba("000001.jpg 69  109  106  113   77  142   73  152  108  154", "000002.jpg" + " 7" * 10, count=2))
    file = LandmarkFile(path)
    assert (len(file), file.count) == (2, 5)
    assert file.find(None, "000001.png").five.tolist() == [[69, 109], [106, 113], [77, 142], [73, 152], [108, 154]]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", HEADER + "\n" + row("a").replace("0.25", "zero", 1), r"a\.csv line 2: could not convert string to float: 'zero'"),
        ("a.csv", HEADER + "\n" + row("a") + "\n" + row("b") + ",3", r"a\.csv line 3: 139 fields, the header has 138"),
        ("a.csv", HEADER + "\n" + row("a") + "\n" + row("a"), r"a\.csv line 3: a second line for a"),
        ("a.csv", HEADER + "\n" + row("a").replace("0.25", "nan", 1), r"a\.csv line 2: a coordinate is not a finite number"),
        ("a.csv", "name,x0,y0\na,1,2", r"a\.csv line 1: a header with the columns name, x0, y0"),
        ("a.csv", HEADER, r"a\.csv holds no landmarks"),
        ("a.csv", "", r"a\.csv line 1: a header"),
        ("a.txt", celeba("1.jpg" + " 7" * 10, count=2), r"a\.txt has 1 photo, its first line says 2"),
        ("a.txt", celeba("1.jpg" + " 7" * 9, count=1), r"a\.txt line 3: 10 words, a photo and 10 numbers are wanted"),
        ("a.pts", "", "holds no landmarks"),
        ("a.bin", "\0\udc80", "no file of landmarks|header"),
    ],
)  # fmt: skip
def test_damage_is_named_with_its_line(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    if name == "a.pts":
        path = tmp_path / "empty"
        path.mkdir()
    with pytest.raises(DataError, match=said):
        LandmarkFile(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (pts(POINTS[:67]), "has 67 points, n_points says 68"),
        (pts(POINTS).replace("n_points:  68", "n_points:  66"), "has 68 points, n_points says 66"),
        (pts(POINTS).replace("\n4.25 ", "\n4.25 1 "), "line 6: 3 words, x and y are wanted"),
        ("hello\n", "line 1: version, n_points or { is wanted, not hello"),
    ],
)
def test_damaged_pts(tmp_path, text, said):
    (tmp_path / "face.pts").write_text(text)
    with pytest.raises(DataError, match=said):
        LandmarkFile(tmp_path)


def test_numbers_too_large_for_a_file_of_a_set_are_none(tmp_path):
    with pytest.raises(DataError, match=r"points\.csv line 2: a coordinate is not a finite number"):
        LandmarkFile(csv_file(tmp_path / "points.csv", row("a", POINTS * 1e39)))
    (tmp_path / "odd.txt").write_text("²\nx\n")
    with pytest.raises(DataError, match=r"odd\.txt line 1: a header with the columns"):
        LandmarkFile(tmp_path / "odd.txt")


def test_missing_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"cannot read landmarks from .*nowhere\.csv: No such file"):
        LandmarkFile(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="cannot read landmarks from"):
        sha256(tmp_path / "nowhere.csv")
