"""PairedFaceParsingDataset: what a sample holds, flips, spawned workers, and what it says when a set is wrong."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from PIL import Image

from tests.conftest import drawn_face, write_folders, write_set
from wnet_arch.data.decoded import DecodedImages
from wnet_arch.data.face_lmdb import read_keys
from wnet_arch.errors import DataError, UsageError
from wnet_arch.faces import labels


def block(**options) -> dict:
    return {"name": "faces", "type": "PairedFaceParsingDataset", "phase": "val", "scale": 8, **options}


def dataset(**options):
    return build_dataset(block(**options))


@pytest.fixture
def folders(tmp_path):
    return write_folders(tmp_path / "folders", count=4)


def test_a_sample_is_what_was_stored(face_set):
    sample = dataset(dataroot=str(face_set))[2]
    gt, parsing = drawn_face(2)
    lq = np.asarray(Image.fromarray(gt).resize((8, 8), Image.BICUBIC))
    assert torch.equal(sample["gt"], torch.from_numpy(gt.transpose(2, 0, 1)) / 255)
    assert torch.equal(sample["lq"], torch.tensor(lq.transpose(2, 0, 1)) / 255)
    assert torch.equal(sample["parsing"], torch.from_numpy(parsing))
    assert sample["parsing"].dtype == torch.uint8
    assert sample["lq_path"] == sample["gt_path"] == "face002.png"


def test_several_sets_are_drawn_from_together(tmp_path, face_set):
    other = write_set(tmp_path / "other", count=2, seed=50)
    joined, first, second = (
        dataset(dataroot=[str(face_set), str(other)]),
        dataset(dataroot=str(face_set)),
        dataset(dataroot=str(other)),
    )
    assert len(joined) == len(first) + len(second)
    for index, (one, sample) in enumerate(((first[3], joined[3]), (second[1], joined[len(first) + 1]))):
        assert sample["lq_path"] == f"{index}_{one['lq_path']}"
        assert all(torch.equal(sample[name], one[name]) for name in ("lq", "gt", "parsing"))
    assert torch.equal(pickle.loads(pickle.dumps(joined))[7]["gt"], second[1]["gt"])
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        dataset(dataroot=[str(face_set), str(tmp_path / "nowhere")])
    with pytest.raises(DataError, match="prepared for x4"):
        dataset(dataroot=[str(face_set), str(write_set(tmp_path / "x4", count=1, scales=(4,)))])


def test_folders_give_the_same_samples_as_the_set(face_set, folders):
    from_set = dataset(dataroot=str(face_set))
    from_folders = dataset(dataroot_gt=str(folders / "gt"), dataroot_parsing=str(folders / "labels"))
    for index in range(4):
        for name, value in from_set[index].items():
            other = from_folders[index][name]
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_without_maps_everything_is_unknown(folders):
    assert (dataset(dataroot_gt=str(folders / "gt"))[0]["parsing"] == labels.UNKNOWN).all()


def test_palette_maps_are_classes_not_colours(folders):
    path = folders / "labels" / "face000.png"
    palette = Image.open(path).convert("P")
    palette.putdata(list(np.asarray(Image.open(path)).ravel()))
    palette.putpalette([255 - i % 256 for i in range(768)])
    palette.save(path)
    sample = dataset(dataroot_gt=str(folders / "gt"), dataroot_parsing=str(folders / "labels"))[0]
    assert torch.equal(sample["parsing"], torch.from_numpy(drawn_face(0)[1]))


def test_flips_mirror_image_and_map_alike_and_exchange_left_and_right(face_set):
    plain = dataset(dataroot=str(face_set))[0]
    flipping = dataset(dataroot=str(face_set), use_hflip=True, phase="train")
    random.seed(0)
    samples = [flipping[0] for _ in range(20)]
    mirrored = [s for s in samples if torch.equal(s["gt"], plain["gt"].flip(-1))]
    untouched = [s for s in samples if torch.equal(s["gt"], plain["gt"])]
    assert len(mirrored) + len(untouched) == 20
    assert min(len(mirrored), len(untouched)) >= 4
    flipped = mirrored[0]
    assert torch.equal(flipped["lq"], plain["lq"].flip(-1))
    for left, right in ((labels.L_EYE, labels.R_EYE), (labels.L_BROW, labels.R_BROW)):
        assert torch.equal(flipped["parsing"] == left, (plain["parsing"] == right).flip(-1))
    assert torch.equal(flipped["parsing"] == labels.NOSE, (plain["parsing"] == labels.NOSE).flip(-1))


def test_validation_never_flips(face_set):
    data = dataset(dataroot=str(face_set), use_hflip=True, phase="val")
    assert all(torch.equal(data[0]["gt"], data[0]["gt"]) for _ in range(10))


def test_spawned_workers_read_the_set(face_set):
    data = dataset(dataroot=str(face_set))
    data[0]  # an LMDB that is open in this process must not be carried along
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="spawn")
    keys = [key for batch in loader for key in batch["lq_path"]]
    assert keys == [f"face{i:03d}.png" for i in range(6)]
    assert torch.equal(pickle.loads(pickle.dumps(data))[1]["gt"], data[1]["gt"])


def test_framework_reads_the_set_without_this_package(tmp_path):
    """BasicSR's own PairedImageDataset on gt.lmdb and lq_x8.lmdb."""
    face_set = write_set(tmp_path / "set", 6)
    theirs = build_dataset({
        "name": "x", "type": "PairedImageDataset", "phase": "val", "scale": 8, "io_backend": {"type": "lmdb"},
        "dataroot_gt": str(face_set / "gt.lmdb"), "dataroot_lq": str(face_set / "lq_x8.lmdb"),
    })  # fmt: skip
    samples = [theirs[index] for index in range(6)]
    for environment in theirs.file_client.client._client.values():
        environment.close()  # LMDB opens a file once in a process
    ours = dataset(dataroot=str(face_set))
    for index, sample in enumerate(samples):
        assert torch.allclose(sample["gt"], ours[index]["gt"], atol=1e-6)
        assert torch.allclose(sample["lq"], ours[index]["lq"], atol=1e-6)


def check_message(error: str, said: list[str]) -> None:
    assert "\n" not in error
    for part in said:
        assert part in error


def test_missing_set(tmp_path):
    with pytest.raises(DataError) as error:
        dataset(dataroot=str(tmp_path / "none"))
    check_message(str(error.value), ["none", "wnet prepare"])


def test_set_for_another_scale(tmp_path):
    path = write_set(tmp_path / "x8", 1, scales=(8,))
    with pytest.raises(DataError) as error:
        dataset(dataroot=str(path), scale=4)
    check_message(str(error.value), ["x8", "not x4", "--scales"])


def test_key_sets_that_differ(tmp_path):
    path = write_set(tmp_path / "set", 5)
    meta = path / "lq_x8.lmdb" / "meta_info.txt"
    meta.write_text("".join(meta.read_text().splitlines(keepends=True)[2:]))
    assert len(read_keys(path / "lq_x8.lmdb")) == 3
    with pytest.raises(DataError) as error:
        dataset(dataroot=str(path))
    check_message(str(error.value), ["lq_x8.lmdb holds, and does not name, 2 images", "face000, face001"])


def test_a_key_that_is_listed_but_not_stored(tmp_path):
    path = write_set(tmp_path / "set", 2)
    for kind in ("gt", "lq_x8", "parsing"):
        with open(path / f"{kind}.lmdb" / "meta_info.txt", "a") as meta:
            meta.write("ghost.png (64,64,3) 1\n")
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "count": 3}))
    with pytest.raises(DataError, match=r"gt\.lmdb lacks 1 image: ghost;"):
        dataset(dataroot=str(path))


def test_images_that_are_not_square_or_no_multiple(folders):
    for size in ((64, 48), (60, 60)):
        Image.new("RGB", size).save(folders / "gt" / "face001.png")
        with pytest.raises(DataError) as error:
            dataset(dataroot_gt=str(folders / "gt"))
        check_message(str(error.value), ["face001.png", f"{size[0]}x{size[1]}", "multiple of 8"])


def test_batches_need_faces_of_one_size(folders, tmp_path, face_set):
    Image.new("RGB", (32, 32)).save(folders / "gt" / "zz.png")
    options = {"dataroot_gt": str(folders / "gt"), "phase": "train"}
    with pytest.raises(DataError) as error:
        dataset(**options, batch_size_per_gpu=2)
    check_message(str(error.value), ["zz.png is 32x32", "64x64; batches need HR faces of one size"])
    assert len(dataset(**options, batch_size_per_gpu=1)) == 5
    small = write_set(tmp_path / "small", count=2, size=32)
    with pytest.raises(DataError) as error:
        dataset(dataroot=[str(face_set), str(small)], phase="train", batch_size_per_gpu=4)
    check_message(str(error.value), ["small", "is 32x32", "64x64; batches need HR faces of one size"])


def test_names_need_not_be_utf_8(folders):
    try:
        os.rename(os.fsencode(folders / "gt" / "face000.png"), os.fsencode(folders / "gt") + b"/\xff0.png")
    except OSError:
        pytest.skip("this file system takes no such name")
    found = dataset(dataroot_gt=str(folders / "gt"), degradation={})
    assert len(found.identity()) == 64
    assert found[len(found) - 1]["lq"].shape == (3, 8, 8)


def test_unreadable_image_and_empty_file(folders):
    path = folders / "gt" / "face001.png"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="face001 is not a readable image"):
        dataset(dataroot_gt=str(folders / "gt"))[1]
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"face001\.png is not a readable image"):
        dataset(dataroot_gt=str(folders / "gt"))


def test_label_values_out_of_range(folders):
    bad = drawn_face(1)[1]
    bad[0, 0] = 77
    Image.fromarray(bad).save(folders / "labels" / "face001.png")
    data = dataset(dataroot_gt=str(folders / "gt"), dataroot_parsing=str(folders / "labels"))
    data[0]
    with pytest.raises(DataError, match="face001: value 77"):
        data[1]


def test_label_of_another_size(folders):
    Image.fromarray(drawn_face(1, 32)[1]).save(folders / "labels" / "face001.png")
    data = dataset(dataroot_gt=str(folders / "gt"), dataroot_parsing=str(folders / "labels"))
    with pytest.raises(DataError, match="32x32; its photo is 64x64"):
        data[1]


def test_lq_of_another_scale(folders, tmp_path):
    shutil.copytree(folders / "gt", tmp_path / "lq")
    data = dataset(dataroot_gt=str(folders / "gt"), dataroot_lq=str(tmp_path / "lq"))
    with pytest.raises(DataError, match="64x64; x8 of a 64-pixel face is 8x8"):
        data[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "dataroot is missing"),
        ({"datarot": "x"}, "did you mean 'dataroot'"),
        ({"dataroot": "x", "dataroot_gt": "y"}, "not both"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(UsageError, match=said):
        dataset(**options)


def test_empty_folder(tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        dataset(dataroot_gt=str(tmp_path))


def test_cached_samples_are_the_same_and_decoded_once_by_all_workers(face_set, monkeypatch):
    plain, cached = dataset(dataroot=str(face_set)), dataset(dataroot=str(face_set), cache=True)
    loader = torch.utils.data.DataLoader(cached, batch_size=1, num_workers=2, multiprocessing_context="fork")
    assert len(list(loader)) == len(plain)
    monkeypatch.setattr(cached.gt, "get", None)  # this process did not decode, yet needs no file any more
    for index in range(len(plain)):
        assert all(torch.equal(plain[index][name], cached[index][name]) for name in ("lq", "gt", "parsing"))


def test_cache_larger_than_memory_is_refused():
    with pytest.raises(UsageError, match=r"cache: .* GiB"):
        DecodedImages(10**12, [(128, 128, 3)])
