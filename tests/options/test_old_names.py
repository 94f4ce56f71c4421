"""Names of earlier versions in option files and commands are taken for those of today, and it is said."""

from __future__ import annotations

import pytest

from wnet_arch import create_network, options
from wnet_arch.archs.base import FaceSRNetwork
from wnet_arch.archs.bicubic_arch import enlarge
from wnet_arch.errors import UsageError

OLD_KEY = ("train", "wnet_opt", "lattice_weight")


@pytest.mark.parametrize("name", ["wnetlite_x8", "options/wnetlite_x4.yml", "WNetLite_sharp_x8", "wnetlite_key_x8.yml"])
def test_a_packaged_file_is_found_by_its_old_name(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old = name.rpartition("/")[2].removesuffix(".yml")
    assert options.resolve(name).endswith(f"/{old.lower().replace('wnetlite', 'wnet_lite')}.yml")
    said = capsys.readouterr().err
    assert f"is called {old.replace('WNetLite', 'wnet_lite').replace('wnetlite', 'wnet_lite')}" in said
    assert f"--force_yml name={old} continues" in said


def test_a_file_of_that_name_in_the_folder_is_taken_without_a_word(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wnetlite_x8.yml").write_text("name: mine\n")
    assert options.resolve("wnetlite_x8.yml") == "wnetlite_x8.yml"
    assert capsys.readouterr().err == ""


def test_an_old_key_becomes_the_new_one_in_its_place(tmp_path, capsys):
    file = tmp_path / "old.yml"
    file.write_text("train:\n  wnet_opt:\n    type: WNetLoss\n    lattice_weight: 2.5\n    image_weight: 1\n")
    block = options.load(str(file))["train"]["wnet_opt"]
    assert list(block.items()) == [("type", "WNetLoss"), ("grid_artifact_weight", 2.5), ("image_weight", 1)]
    assert capsys.readouterr().err == "note: train.wnet_opt.lattice_weight is called grid_artifact_weight now\n"


def test_the_framework_is_handed_the_new_key(tmp_path):
    file = tmp_path / "old.yml"
    file.write_text("train:\n  wnet_opt: {lattice_weight: 2.5}\n")
    assert not options.framework_reads(options.load(str(file)), str(file))  # so it gets a file with the names of today


def test_an_old_key_on_the_command_line(capsys):
    opt = options.override(options.load(options.resolve("wnet_lite_sharp_x8")), ["train:wnet_opt:lattice_weight=3"])
    assert opt["train"]["wnet_opt"]["grid_artifact_weight"] == 3
    assert "lattice_weight" not in opt["train"]["wnet_opt"]
    assert "is called grid_artifact_weight now" in capsys.readouterr().err


def test_both_names_at_once_are_a_mistake(tmp_path):
    opt = options.load(options.resolve("wnet_lite_sharp_x8"))
    file = tmp_path / "both.yml"
    opt["train"]["wnet_opt"]["lattice_weight"] = 1.0
    options.save(opt, str(file))
    with pytest.raises(UsageError, match="lattice_weight"):
        options.check_schema(options.load(str(file)), True, ["wnet_arch"])


def test_a_network_of_another_package_with_the_old_method_still_runs():
    with pytest.warns(FutureWarning, match=r"Older\.restore is called super_resolve now"):

        class Older(FaceSRNetwork):
            def restore(self, lq):
                return enlarge(lq, self.scale)

    lq = create_network("Bicubic", 8)  # any network, to enlarge the same way
    import torch

    face = torch.rand(2, 3, 16, 16)
    assert torch.equal(Older(8)(face), lq(face))
