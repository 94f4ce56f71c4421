"""Face parsers behind one interface."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.faces.test_landmarks import upright_face
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.faces import labels, parse_landmarks, parsing
from wnet_arch.faces.parser_net import ParserNet
from wnet_arch.faces.parsing import create_parser


def random_parser_net() -> ParserNet:
    """Random weights, with batch statistics that are not those of a new network."""
    torch.manual_seed(0)
    network = ParserNet()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def compact_file(tmp_path_factory) -> str:
    """A file as the training script writes it: half precision, without counters."""
    path = tmp_path_factory.mktemp("parser") / "face_parser.safetensors"
    state = {n: v.half().contiguous() for n, v in random_parser_net().state_dict().items() if not n.endswith("num_batches_tracked")}
    save_file(state, path, {"architecture": "ParserNet"})
    return str(path)


def faces(count: int, height: int = 128, width: int = 128) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, height, width, 3), dtype=np.uint8)


def test_compact_gives_what_the_network_says(compact_file):
    network = random_parser_net()
    network.load_state_dict({n: v.half().float() if v.is_floating_point() else v for n, v in network.state_dict().items()})
    parser = create_parser("compact", path=compact_file)
    (rgb,) = faces(1)
    with torch.no_grad():
        expected = network(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255)[0].argmax(0).numpy()
    found = parser.parse(rgb)
    assert found.dtype == np.uint8
    assert found.shape == (128, 128)
    assert (found == expected).mean() > 0.999  # batch normalisation is folded in: rounding
    assert len(np.unique(found)) > 3


def test_folding_keeps_the_scores():
    network = random_parser_net()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = network(x)
        folded = parsing.folded(network)
        torch.testing.assert_close(folded(x), before, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_batches_sizes_and_threads_make_no_difference(compact_file):
    parser = create_parser("compact", path=compact_file)
    several = [*faces(2), faces(1, 90, 150)[0], faces(1, 256, 256)[0]]
    maps = parser.parse_batch(several)
    assert [m.shape for m in maps] == [(128, 128), (128, 128), (90, 150), (256, 256)]
    for rgb, own in zip(several, maps):
        assert (parser.parse(rgb) == own).mean() > 0.999
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert np.array_equal(parser.parse(several[0]), pickle.loads(pickle.dumps(parser)).parse(several[0]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_landmark_parser_draws_polygons():
    parser = create_parser("landmarks")
    rgb, points = faces(1)[0], upright_face()
    assert np.array_equal(parser.parse(rgb, points), parse_landmarks.draw(points, 128, 128))
    assert parser.needs_points
    with pytest.raises(UsageError, match="needs the landmarks of every face"):
        parser.parse(rgb)


def test_orders_are_converted_class_by_class():
    """Scores that single out one class of the other network give the class of that name here."""
    for names in (parsing.BISENET_ORDER, parsing.PARSENET_ORDER):
        assert sorted(names) == sorted(labels.NAMES)
        scores = torch.eye(19)  # row i: class i of the other order
        ours = scores[:, parsing.our_order(names)].argmax(1)
        assert [labels.NAMES[i] for i in ours] == list(names)
    assert parsing.BISENET_ORDER[10] == "nose"
    assert parsing.BISENET_ORDER[17] == "hair"


@pytest.mark.parametrize("name", ["bisenet", "parsenet"])
def test_facexlib_networks_are_run_as_facexlib_runs_them(name, tmp_path, monkeypatch):
    """With random weights: the published ones were not to be had. So the meaning of their classes is not tested here."""
    from facexlib.parsing.bisenet import BiSeNet
    from facexlib.parsing.parsenet import ParseNet
    from torchvision.transforms.functional import normalize

    def narrow(**options):
        return ParseNet(**options, base_ch=8, res_depth=1, ch_range=(8, 16))

    monkeypatch.setattr("facexlib.parsing.parsenet.ParseNet", narrow)
    torch.manual_seed(0)
    network = (BiSeNet(num_class=19) if name == "bisenet" else narrow(in_size=512, out_size=512, parsing_ch=19)).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    parser = create_parser(name, path=str(tmp_path / "weights.pth"))
    rgb = faces(1, 512, 512)[0]
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if name == "bisenet" else ((0.5,) * 3, (0.5,) * 3)
    image = normalize(torch.from_numpy(rgb).permute(2, 0, 1).float() / 255, mean, std)
    with torch.no_grad():
        theirs = network(image[None])[0].argmax(1)[0].numpy()
    names = parsing.BISENET_ORDER if name == "bisenet" else parsing.PARSENET_ORDER
    expected = np.array([labels.NAMES.index(n) for n in names], np.uint8)[theirs]
    assert (parser.parse(rgb) == expected).mean() > 0.999


def test_wrong_names_and_files_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no parser is called 'bisnet'; did you mean 'bisenet'"):
        create_parser("bisnet")
    monkeypatch.setenv("WNET_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="wnet weights fetch parsing-parsenet"):
        create_parser("parsenet", download=False)
    rgb = faces(1)[0]
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth does not hold the weights of facexlib's BiSeNet"):
        create_parser("bisenet", path=str(tmp_path / "a.pth")).parse(rgb)
    for state, metadata in (({"a": torch.zeros(1)}, {"architecture": "ParserNet"}), ({"a": torch.zeros(1)}, None)):
        save_file(state, tmp_path / "b.safetensors", metadata)
        with pytest.raises(WeightsError, match=r"b\.safetensors does not hold the weights of ParserNet"):
            create_parser("compact", path=str(tmp_path / "b.safetensors")).parse(rgb)
        parsing._compact_network.cache_clear()
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"c\.safetensors is not a readable weights file: it is damaged"):
        create_parser("compact", path=str(tmp_path / "c.safetensors")).parse(rgb)


def test_shipped_parser_knows_a_face():
    """On the astronaut, classes lie where they should, and left and right are the person's."""
    from skimage.data import astronaut

    shipped = create_parser("compact", download=False)
    found = shipped.parse(astronaut()[30:220, 130:320])
    for (x, y), value in {
        (74, 72): labels.R_EYE,
        (116, 73): labels.L_EYE,
        (95, 97): labels.NOSE,
        (60, 95): labels.SKIN,
        (20, 60): labels.HAIR,
    }.items():
        around = found[y - 4 : y + 5, x - 4 : x + 5]
        assert (around == value).any(), (x, y, labels.NAMES[int(found[y, x])])
