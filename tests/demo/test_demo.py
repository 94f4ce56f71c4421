"""``wnet demo``: what is drawn, what may be uploaded, and the page in a real browser.

Photos are drawn: faces on pure blue, which a detector of ours finds as what is not blue. Networks have random weights.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import types
import urllib.request
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from tests.conftest import drawn_face
from tests.metric_faces import need_file
from wnet_arch import create_network
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command
from wnet_arch.demo import drawing, examples, page, server
from wnet_arch.demo.choices import PLAIN, Choices, Remembering, title
from wnet_arch.demo.limits import Limits, open_upload
from wnet_arch.demo.privacy import OwnMachineOnly, without_foreign
from wnet_arch.demo.work import restore_upload
from wnet_arch.errors import DataError, UsageError, WeightsError, install_extra
from wnet_arch.faces.detection import Detection, Detector
from wnet_arch.restore import STATEMENT, FaceRestorer, RestoredFace, RestoredPhoto, frames, paste
from wnet_arch.weights import seals

BLUE = (10, 20, 255)
#: Milliseconds that a page may take on a busy machine.
WAIT = 90_000
LIMITS = Limits(max_mb=0.5, max_pixels=200_000)


class BlueScreen(Detector):
    """Finds what is not blue, and counts how often it was asked."""

    name, smallest_frame = "mtcnn", 12

    def __init__(self):
        self.asked = 0

    def _find(self, rgb):
        self.asked += 1
        count, _, stats, _ = cv2.connectedComponentsWithStats((rgb[..., 2] < 190).astype(np.uint8))
        boxes = (stats[i, :4].tolist() for i in range(1, count))
        return [Detection((x, y, x + w, y + h), 1.0) for x, y, w, h in boxes if min(w, h) >= 4]


def scene(*sides: int) -> np.ndarray:
    """Faces in a row on blue; the detector's boxes have these sides."""
    gap = 16
    photo, left = np.full((2 * gap + max(sides), gap + sum(side + gap for side in sides), 3), BLUE, np.uint8), gap
    for index, side in enumerate(sides):
        face = np.array(Image.fromarray(drawn_face(index)[0]).resize((side, side), Image.Resampling.BICUBIC))
        face[..., 2] //= 2
        photo[gap : gap + side, left : left + side] = face
        left += side + gap
    return photo


def save(path: Path, image: np.ndarray, **options) -> str:
    Image.fromarray(image).save(path, **options)
    return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, str]:
    """Files of a network that estimates a map, and of one that does not; they change every pixel."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    for kind, scale in (("WNetLite", 8), ("SRCNN", 8), ("SRCNN", 4)):
        torch.manual_seed(scale)
        state = create_network(kind, scale).state_dict()
        state = {key: value + 0.02 * torch.randn(value.shape) for key, value in state.items()}
        about = {"network_g": json.dumps({"type": kind, "scale": scale}), "scale": str(scale), "training_set": "none"}
        found[f"{kind}_x{scale}"] = str(folder / f"{kind}_x{scale}.safetensors")
        seals.write_tensors(state, found[f"{kind}_x{scale}"], about)
    return found


@pytest.fixture(scope="module")
def choices(weights) -> Choices:
    own = [[weights["WNetLite_x8"]], [weights["SRCNN_x8"], weights["SRCNN_x4"]]]
    return Choices(weights=own, detector=BlueScreen())


def expected(photo: np.ndarray, *files: str, **options) -> RestoredPhoto:
    return FaceRestorer(weights=list(files), detector=BlueScreen(), **options).restore(photo)


# What may be uploaded


def png_of(width: int, height: int) -> bytes:
    """The beginning of a PNG file that announces so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IDAT"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"no picture at all, " * 9, "a.png cannot be used: not a photo that can be read"),
        ("b.png", b"", "b.png cannot be used: empty file"),
        ("bomb.png", png_of(30_000, 30_000), r"too large \((30,000 x 30,000 pixels|Image size)"),
        ("wide.png", png_of(5000, 41), r"5,000 x 41 pixels; 200,000 at most"),
        ("cut.png", png_of(50, 50), "cut.png cannot be used: broken"),
        ("big.bmp", bytes(600_000), r"0\.6 MB; 0\.5 MB at most"),
        ("page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n%%EndComments\n", "not a photo that can be read"),
    ],
)
def test_uploads_that_are_no_photos_or_too_large(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_upload(tmp_path / name, LIMITS)
    assert "\n" not in str(caught.value)


def test_an_upload_is_opened_as_wnet_restore_opens_it(tmp_path):
    photo = scene(12, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "turned.png", np.rot90(photo), exif=exif)
    assert (open_upload(path, LIMITS).rgb == photo).all()
    with pytest.raises(DataError, match="upload it again"):
        open_upload(tmp_path / "gone.png", LIMITS)


@pytest.mark.parametrize(("options", "name"), [({"max_mb": 0}, "--max-mb"), ({"max_pixels": 10**9}, "--max-pixels")])
def test_limits_that_make_no_sense(options, name):
    with pytest.raises(UsageError, match=name):
        Limits(**options)


# What is drawn


def face_at(left: float, top: float, side: float, restored: bool = True, skin: np.ndarray | None = None) -> RestoredFace:
    frame = frames.input_square(frames.frame_of(Detection((left, top, left + side, top + side), 1.0), "dlib"), round(1.51 * side))
    made = np.zeros((128, 128, 3), np.uint8) if restored else None
    box = (left, top, left + side, top + side)
    return RestoredFace(box, 1.51 * side, frame, sr=made, lq=np.zeros((16, 16, 3), np.uint8), skin=skin)


def test_boxes_lie_where_the_faces_are_and_those_left_alone_are_dashed():
    photo = np.zeros((450, 450, 3), np.uint8)
    drawn = drawing.numbered(photo, [face_at(200, 100, 200, restored=False), face_at(20, 200, 100)])
    assert drawn.shape == (900, 900, 3)

    def share(colour, part):
        return (part == colour).all(-1).mean()

    assert share(drawing.RESTORED, drawn[420:580, 40]) == 1  # the left side, below the number
    assert 0.3 < share(drawing.LEFT_ALONE, drawn[250:590, 800]) < 0.7
    assert share(drawing.RESTORED, drawn[:, 300:]) == 0
    inside = drawn[420:580, 60:220]
    assert not inside.any()


def test_tags_of_faces_side_by_side_do_not_cover_each_other():
    draw = drawing.ImageDraw.Draw(Image.new("RGB", (600, 300)))
    tags = drawing._Tags(draw, (600, 300), 18)
    for left in range(0, 600, 60):
        tags.add([left, 140, left + 50, 190], ["7: too large", "7"], (1, 2, 3))
    taken = tags.taken
    assert len(taken) == 10
    assert len({right - left for left, _, right, _ in taken}) == 2  # some say why, others have room for their number alone
    assert not any(drawing._meet(one, other) for i, one in enumerate(taken) for other in taken[:i])
    tags.add([590, -50, 900, -20], ["123456"], (1, 2, 3))
    left, top, right, bottom = tags.taken[-1]
    assert left >= 0
    assert top >= 0
    assert right <= 600
    assert bottom <= 300


def test_the_overlay_colours_skin_alone():
    skin = np.zeros((128, 128), np.float32)
    skin[:, :64] = 1
    face = face_at(40, 40, 50, skin=skin)
    photo = RestoredPhoto(np.zeros((400, 400, 3), np.uint8), 2.0, [face, face_at(120, 120, 40)], 12)
    canvas = np.full((400, 400, 3), 100, np.uint8)
    drawn = drawing.parsing_overlay(photo, (200, 200), canvas)
    left, top = (face.frame.corners * 2).min(0)
    right, bottom = (face.frame.corners * 2).max(0)
    middle, line = (left + right) / 2, int((top + bottom) / 2)
    opaque = np.rint(0.4 * 100 + 0.6 * np.array(drawing.OVERLAY))
    assert np.abs(drawn[line, int(left) + 4 : int(middle) - 4] - opaque).max() <= 1
    assert (drawn[:, int(middle) + 4 :] == 100).all()
    assert (drawn[: int(top) - 1] == 100).all()
    assert (canvas == 100).all()
    assert drawing.parsing_overlay(RestoredPhoto(canvas, 2.0, [face_at(1, 1, 9)], 12), (200, 200), canvas) is None


@pytest.mark.parametrize("corner", [(0, 0), (190, 0), (-30, 195), (90, 90)])
def test_close_ups_stay_in_the_photo(corner):
    face = face_at(*corner, 20)
    photo = np.arange(400 * 400 * 3, dtype=np.uint8).reshape(400, 400, 3)
    part = drawing.close_up(photo, face, 2.0)
    assert max(part.shape[:2]) == drawing.CLOSE_UP
    assert min(part.shape[:2]) > 0


def test_pictures_for_the_browser_have_bounded_sides():
    assert drawing.fitted(np.zeros((3000, 40, 3), np.uint8)).shape == (2000, 27, 3)
    assert drawing.fitted(np.zeros((10, 20, 3), np.uint8), 900).shape == (450, 900, 3)
    image = np.zeros((1000, 950, 3), np.uint8)
    assert drawing.fitted(image, 900) is image


# Networks


def test_choices_are_the_users_networks_and_bicubic(choices):
    labels = choices.labels
    assert labels[:3] == ["WNetLite (x8), yours", "SRCNN (x4, x8), yours", "Automatic, by the photo"]
    assert labels[-1] == PLAIN
    assert choices.first == labels[0]
    assert sorted(choices.restorer(labels[1]).networks) == [4, 8]
    for wrong in (("nothing",), (labels[0], 1.5), (labels[0], 1.0, 3)):
        with pytest.raises(UsageError):
            choices.restorer(*wrong)


def test_shipped_networks_are_offered_under_one_name_for_all_scales(monkeypatch):
    monkeypatch.setattr("wnet_arch.weights.shipped.names", lambda: ["edsr_x8", "wnet_x4", "wnet_x8"])
    monkeypatch.setattr(Choices, "restorer", lambda self, label: None)
    assert Choices(detector=BlueScreen()).labels == [
        "Automatic, by the photo", "Faithful: clean photos", "EDSR (x8)", PLAIN,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [("wnet_x8", "W-Net"), ("wnet_lite_x4", "WNetLite"), ("wnet_lite_real_x4", "WNetLite real"), ("sparnet", "SPARNet"),
     ("fishfsrnet_old_x4", "FishFSRNet old"), ("my_run_3", "my_run_3"), ("Anna_x", "Anna_x"), ("my_xray_x8", "my_xray_x8")],
)  # fmt: skip
def test_networks_have_names_that_people_read(name, said):
    assert title(name) == said


def test_by_itself_the_page_does_what_the_command_does():
    first = Choices(detector=BlueScreen())
    assert first.first == first.labels[0] == "Automatic, by the photo"
    assert first.restorer(first.first).quality == FaceRestorer(detector=BlueScreen()).quality == "auto"


def test_the_network_named_is_chosen_at_first(weights):
    own = [[weights["SRCNN_x8"]], [weights["SRCNN_x8"]]]
    both = Choices("Bicubic", own, detector=BlueScreen())
    assert both.first == PLAIN
    assert len(set(both.labels)) == len(both.labels) >= 3
    with pytest.raises(UsageError, match="no shipped network is called 'nonsense'"):
        Choices("nonsense", own, detector=BlueScreen())
    with pytest.raises(UsageError, match="are both networks for x8"):
        Choices(weights=[own[0] * 2], detector=BlueScreen())


def test_what_was_searched_is_not_searched_again():
    inner = BlueScreen()
    detector = Remembering(inner, size=2)
    photo = scene(12, 20)
    first = detector.find(photo)
    assert len(first) == 2
    first.clear()
    assert len(detector.find(photo)) == 2
    assert inner.asked == 1
    detector.detect(photo)
    detector.find(photo[:20])  # the first is forgotten
    before = inner.asked
    detector.find(photo)
    assert inner.asked == before + 1


# One photo


def test_the_download_is_what_the_restorer_makes(choices, weights, tmp_path):
    photo = scene(10, 11, 60)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = save(tmp_path / "a <b> ü.jpeg.png", photo, icc_profile=profile)
    shown = restore_upload(path, choices.restorer(choices.first, 0.5, 4), LIMITS, tmp_path)
    with Image.open(shown.download) as image:
        assert (np.array(image) == expected(photo, weights["WNetLite_x8"], strength=0.5, scale=4).image).all()
        assert image.text["Comment"] == STATEMENT
        assert image.info["icc_profile"][16:20] == b"RGB "
    assert Path(shown.download).name == "a <b> ü.jpeg.png"
    assert "<b>a &lt;b&gt; ü.jpeg.png</b>: 3 faces found, 2 restored" in shown.summary
    assert shown.lines.count("<li>") == 3
    assert "left alone: 91.2 pixels, larger than 20 pixels" in shown.lines
    assert [caption for _, caption in shown.faces] == ["2 · 17 pixels", "3 · 15 pixels"]
    for file in (shown.before, shown.after, shown.boxes, shown.parsing, *(path for pair in shown.close_ups for path in pair)):
        assert Image.open(file).width > 0
    plain = np.array(Image.open(shown.before))
    assert (plain == paste.enlarge(photo, 4)).all()


@pytest.mark.parametrize("name", ["before", "after", "boxes", "parsing", "face1", "after1"])
def test_the_download_is_no_other_picture_of_the_page_whatever_the_upload_is_called(choices, weights, tmp_path, name):
    photo = scene(10)
    shown = restore_upload(save(tmp_path / f"{name}.png", photo), choices.restorer(choices.first), LIMITS, tmp_path)
    with Image.open(shown.download) as image:
        assert (np.array(image) == expected(photo, weights["WNetLite_x8"]).image).all()
        assert image.text["Comment"] == STATEMENT
    assert Path(shown.download).name == f"{name}.png"
    assert len({shown.before, shown.after, shown.boxes, shown.parsing, shown.download}) == 5


def test_a_photo_without_faces_and_a_network_without_maps(choices, tmp_path):
    path = save(tmp_path / "sky.png", np.full((40, 60, 3), BLUE, np.uint8))
    shown = restore_upload(path, choices.restorer(PLAIN), LIMITS, tmp_path)
    assert "no face was found; the photo was left as it is. It keeps its 60 × 40 pixels" in shown.summary
    assert shown.about_parsing == "No face was restored, so there is no map."
    shown = restore_upload(path, choices.restorer(PLAIN, scale=8), LIMITS, tmp_path)
    assert "no face was found; the photo was enlarged as it is. 60 × 40 became 480 × 320 pixels" in shown.summary
    assert (shown.faces, shown.parsing, shown.lines) == ([], None, "")


def test_examples_need_no_network(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise WeightsError("not there")

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("an example asked the network"))
    monkeypatch.setattr(examples, "resolve", refuse)
    found, missing = examples.write_examples(tmp_path / "a")
    assert missing == "a group photo: wnet weights fetch demo-faces"
    assert [Image.open(path).size for path, _ in found] == [(50, 50), (101, 101)]
    monkeypatch.setattr(examples.importlib.util, "find_spec", lambda name: None)
    assert examples.write_examples(tmp_path / "b")[0] == []


def test_a_group_photo_is_made_of_the_portraits(tmp_path, monkeypatch):
    for index in range(9):
        save(tmp_path / f"{index}.jpg", drawn_face(index, 128)[0])
    monkeypatch.setattr(examples, "resolve", lambda *_, **__: tmp_path)
    found, missing = examples.write_examples(tmp_path / "out")
    assert missing == ""
    width = sum(examples._GROUP_SIDES) + 12 * (len(examples._GROUP_SIDES) + 1)
    assert Image.open(found[-1][0]).size == (width, max(examples._GROUP_SIDES) + 24)


# Nothing leaves the machine


def test_foreign_addresses_are_taken_out_of_the_page():
    html = (
        '<link rel="preconnect" href="https://fonts.googleapis.com" /><link rel="stylesheet" href="./theme.css">'
        '<script\n src="https://cdnjs.example/a.js"\n async></script><script src="/assets/b.js"></script><link href=//x.org/y>'
    )
    assert without_foreign(html) == '<link rel="stylesheet" href="./theme.css"><script src="/assets/b.js"></script>'


def ask(host: str, kind: str = "text/html", encoding: str | None = None) -> tuple[int, dict, bytes]:
    """What the layer answers to a name, around a page in two parts."""

    async def page(scope, receive, send):
        headers = [(b"content-type", kind.encode()), (b"content-length", b"99")]
        headers += [(b"content-encoding", encoding.encode())] if encoding else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'<link href="https:', "more_body": True})
        await send({"type": "http.response.body", "body": b'//x.org/y">ok'})

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(b"host", host.encode())]}
    asyncio.run(OwnMachineOnly(page)(scope, None, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent)


def test_only_this_machines_names_are_answered_and_pages_are_cleaned():
    status, headers, body = ask("127.0.0.1:7860")
    assert (status, body, headers["content-length"]) == (200, b"ok", "2")
    assert "default-src 'self'" in headers["content-security-policy"]
    assert ask("localhost")[0] == 200
    for host in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example:80", ""):
        assert ask(host)[0] == 421
    assert b"x.org" in ask("localhost", "text/css")[2]
    assert b"x.org" in ask("localhost", encoding="gzip")[2]


# The command


def wnet_demo(*arguments) -> int:
    return run_command("wnet", wnet._main, ["demo", "--no-open", *map(str, arguments)])


def test_without_gradio_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(server, "LEAST_PYTHON", (3, 9))
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert wnet_demo() == 2
    assert capsys.readouterr().err == f"wnet: error: gradio is missing: {install_extra('demo')}\n"


def test_an_old_gradio_is_named(monkeypatch, capsys):
    monkeypatch.setattr(server, "LEAST_PYTHON", (3, 9))
    monkeypatch.setitem(sys.modules, "gradio", types.SimpleNamespace(__version__="6.4.0"))
    monkeypatch.setitem(sys.modules, "uvicorn", types.SimpleNamespace())
    assert wnet_demo() == 2
    assert f"gradio 6.4.0 is too old: {install_extra('demo')}" in capsys.readouterr().err


def test_an_old_python_is_named(monkeypatch, capsys):
    monkeypatch.setattr(server, "LEAST_PYTHON", (9, 1))
    assert wnet_demo() == 2
    assert "needs Python 9.1 or newer" in capsys.readouterr().err


def test_a_port_that_is_taken_and_one_that_cannot_be(monkeypatch, capsys):
    monkeypatch.setattr(server, "check_installed", lambda: None)
    with server.listen(0) as door:
        port = door.getsockname()[1]
        assert door.getsockname()[0] == "127.0.0.1"
        assert wnet_demo("--port", port) == 2
    error = capsys.readouterr().err
    assert f"--port: 127.0.0.1:{port} cannot be used" in error
    assert "--port 0 takes any free one" in error
    assert wnet_demo("--port", 70_000) == 2
    assert wnet_demo("--max-mb", 0) == 2


def test_the_folder_for_uploads_is_private_and_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(server.tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    with server.folder() as place:
        assert os.environ["GRADIO_TEMP_DIR"] == str(place)
        assert place.stat().st_mode & 0o077 == 0
        (place / "deep").mkdir()
        (place / "deep" / "photo.png").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []
    assert "GRADIO_TEMP_DIR" not in os.environ


# The page


def need_gradio() -> None:
    try:
        server.check_installed()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def address(choices):
    """The page's address. At the end nobody but this machine has been connected to."""
    need_gradio()
    foreign, connect = [], socket.socket.connect

    def watched(self, where):
        if isinstance(where, tuple) and where[0] not in ("127.0.0.1", "::1", "localhost"):
            foreign.append(where)
        return connect(self, where)

    ready, found = threading.Event(), []
    with pytest.MonkeyPatch.context() as patch, server.listen(0) as door, server.folder() as place:
        patch.setattr(socket.socket, "connect", watched)
        running = server.make_server(choices, LIMITS, place, door, lambda url: (found.append(url), ready.set()))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        assert ready.wait(60)
        yield found[0]
        running.should_exit = True
        thread.join(30)
    assert foreign == []
    assert not place.exists()


@pytest.fixture
def tab(address, browser, request):
    """The page, opened. Fails if it logs an error or asks for anything from elsewhere."""
    width = getattr(request, "param", 1200)
    tab = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    complaints, tab.expected = [], "(?!)"
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda one: None if one.url.startswith((address, "data:", "blob:")) else complaints.append(one.url))
    tab.goto(address)
    tab.wait_for_selector("#network", timeout=WAIT)
    yield tab
    tab.close()
    assert [text for text in complaints if not re.search(tab.expected, text)] == []


def upload(tab, path, wait_for: str) -> None:
    """Chooses a file, after the one before is taken away, and waits for what the page then says."""
    if tab.locator("#photo input[type=file]").count() == 0:
        tab.locator('#photo button[aria-label="Clear"]').click()
    tab.locator("#photo input[type=file]").set_input_files(path)
    tab.locator("#status", has_text=wait_for).wait_for(timeout=WAIT)


def downloaded(tab) -> tuple[str, np.ndarray]:
    with tab.expect_download() as started:
        tab.locator("#download").click()
    return started.value.suggested_filename, np.array(Image.open(started.value.path()))


def choose(tab, network: str) -> None:
    tab.locator("#network input").click()
    tab.get_by_role("option", name=network, exact=True).click()


def test_a_photo_is_restored_compared_and_downloaded(tab, weights, tmp_path):
    assert STATEMENT in tab.locator("body").inner_text()
    photo = scene(10, 11, 60)
    upload(tab, save(tmp_path / "my party ü.png", photo), "3 faces found, 2 restored")
    name, image = downloaded(tab)
    assert name == "my party ü.png"
    assert (image == expected(photo, weights["WNetLite_x8"]).image).all()

    tab.get_by_role("tab", name="Faces").click()
    choose(tab, "SRCNN (x4, x8), yours")
    wanted = expected(photo, weights["SRCNN_x8"], weights["SRCNN_x4"])
    tab.locator("#list", has_text="restored by SRCNN x8").wait_for(timeout=WAIT)
    assert (downloaded(tab)[1] == wanted.image).all()
    tab.get_by_role("tab", name="Parsing").click()
    assert "SRCNN estimates no map of the face" in tab.locator("#about-parsing").inner_text()
    tab.locator("#scale label", has_text="x2").click()
    tab.locator("#status", has_text=f"became {2 * photo.shape[1]} ×").wait_for(timeout=WAIT)
    assert downloaded(tab)[1].shape[:2] == (2 * photo.shape[0], 2 * photo.shape[1])


def handle(tab) -> float:
    """Where the slider's line is, as a part of its width."""
    whole, line = tab.locator("#slider .slider-wrap").bounding_box(), tab.locator("#slider .inner").bounding_box()
    return (line["x"] + line["width"] / 2 - whole["x"]) / whole["width"]


def test_slider_faces_and_parsing_are_seen(tab, tmp_path):
    upload(tab, save(tmp_path / "a.png", scene(10, 11, 60)), "3 faces found, 2 restored")
    images = tab.locator("#slider img")
    tab.wait_for_function("[...document.querySelectorAll('#slider img')].filter((i) => i.naturalWidth > 0).length == 2")
    assert images.count() == 2
    before = handle(tab)
    assert before == pytest.approx(0.5, abs=0.05)
    box = tab.locator("#slider .inner").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x - 150, y, steps=5)
    tab.mouse.up()
    assert handle(tab) < before - 0.1

    whole = images.first.get_attribute("src")
    tab.locator("#faces button").nth(1).click()
    tab.locator("#seen", has_text="face 3").wait_for()
    tab.wait_for_function("before => document.querySelector('#slider img').src !== before", arg=whole)
    tab.locator("#whole").click()
    tab.locator("#seen", has_text="the whole photo").wait_for()

    tab.get_by_role("tab", name="Faces").click()
    tab.wait_for_function("document.querySelector('#boxes img')?.naturalWidth >= 900")
    assert "larger than 20 pixels" in tab.locator("#list").inner_text()
    tab.get_by_role("tab", name="Parsing").click()
    tab.wait_for_function("document.querySelector('#parsing img')?.naturalWidth > 0")
    assert "takes for skin" in tab.locator("#about-parsing").inner_text()


def test_bad_uploads_are_explained_and_the_page_goes_on(tab, tmp_path):
    (tmp_path / "text.png").write_text("no picture\n" * 50)
    upload(tab, tmp_path / "text.png", "text.png cannot be used: not a photo that can be read")
    assert tab.locator("#download").is_hidden()
    upload(tab, save(tmp_path / "large.png", np.zeros((500, 500, 3), np.uint8)), "500 x 500 pixels; 200,000 at most")
    (tmp_path / "bomb.png").write_bytes(png_of(30_000, 30_000))
    upload(tab, tmp_path / "bomb.png", "bomb.png cannot be used: too large")
    upload(tab, save(tmp_path / "good.png", scene(12)), "1 face found, 1 restored")
    tab.locator("#download").wait_for()


@pytest.mark.parametrize("chosen", ["upload", "example"])
def test_a_photo_chosen_while_the_one_before_is_being_taken_away_is_restored(tab, tmp_path, chosen):
    """The requests of both may overtake each other: the page must not be left with the answer to the earlier one."""
    upload(tab, save(tmp_path / "first.png", scene(10, 11, 60)), "3 faces found")
    held = []
    tab.route("**/queue/join*", lambda route: route.continue_() if held else held.append(route))
    tab.locator('#photo button[aria-label="Clear"]').click()
    if chosen == "upload":
        tab.locator("#photo input[type=file]").set_input_files(save(tmp_path / "second.png", scene(12)))
    else:
        tab.locator("#examples button").first.click()
    tab.wait_for_timeout(1500)
    held[0].continue_()
    tab.locator("#download").wait_for(timeout=WAIT)
    tab.wait_for_timeout(1500)
    assert "3 faces found" not in tab.locator("#status").inner_text()
    assert "found" in tab.locator("#status").inner_text()
    assert tab.locator("#download").is_visible()


def test_a_file_that_is_too_large_is_refused(tab, tmp_path):
    tab.expected = "404|Response"  # Gradio itself logs that it did not upload
    (tmp_path / "big.png").write_bytes(bytes(700_000))
    tab.locator("#photo input[type=file]").set_input_files(tmp_path / "big.png")
    tab.get_by_text(re.compile("exceed the maximum allowed size.*big.png")).wait_for(timeout=WAIT)
    upload(tab, save(tmp_path / "good.png", scene(12)), "1 face found, 1 restored")


@pytest.mark.parametrize("tab", [390], indirect=True)
def test_a_phone_needs_no_sideways_scrolling(tab, tmp_path):
    upload(tab, save(tmp_path / "a.png", scene(10, 11, 60)), "3 faces found")
    tab.locator("#faces button").nth(1).wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("Compare", "Faces", "Parsing"):
        assert tab.get_by_role("tab", name=name).is_visible()


def test_trouble_with_one_photo_is_said_on_the_page(tab, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wnet_arch.demo.page.restore_upload", fail)
    upload(
        tab,
        save(tmp_path / "a.png", scene(12)),
        "a.png: this photo could not be restored: OSError: [Errno 28] No space left on device",
    )
    monkeypatch.undo()
    upload(tab, save(tmp_path / "b.png", scene(12)), "1 face found")


class Held:
    """Stands in for the work on photos, and holds each one until it is let go."""

    def __init__(self, monkeypatch):
        self.begun: queue.Queue[str] = queue.Queue()
        self._go, self._work = queue.Queue(), page.restore_upload
        monkeypatch.setattr(page, "restore_upload", self)

    def __call__(self, path, *rest):
        self.begun.put(Path(path).name)
        self._go.get(timeout=WAIT / 1000)
        return self._work(path, *rest)

    def wait(self, name: str) -> None:
        assert self.begun.get(timeout=WAIT / 1000) == name

    def let_go(self) -> None:
        self._go.put(None)


@pytest.fixture
def hold(monkeypatch):
    """Begins to hold photos; all are let go at the end, or a failed test would keep the page from the next ones."""
    begun = []
    yield lambda: begun.append(Held(monkeypatch)) or begun[-1]
    for held in begun:
        for _ in range(20):
            held.let_go()


def working(tab, *said: str) -> None:
    """The page says what it works on, and shows no result."""
    for words in said:
        tab.locator("#status .working", has_text=words).wait_for(timeout=WAIT)
    for place in ("#shown", "#download"):  # parts of the page may follow one another on a busy machine
        tab.locator(place).wait_for(state="hidden", timeout=WAIT)


def test_no_result_is_shown_beside_what_is_worked_on(tab, tmp_path, hold):
    upload(tab, save(tmp_path / "first.png", scene(10, 11)), "2 faces found")
    held = hold()
    upload(tab, save(tmp_path / "second.png", scene(12)), "second.png: finding")
    held.wait("second.png")
    working(tab, "second.png", "WNetLite (x8), yours")
    held.let_go()
    tab.locator("#status", has_text="second.png: 1 face found").wait_for(timeout=WAIT)
    assert downloaded(tab)[0] == "second.png"
    for change, words in (
        (lambda: choose(tab, "SRCNN (x4, x8), yours"), "network SRCNN (x4, x8), yours"),
        (lambda: choose(tab, PLAIN), "plain enlargement"),
        (lambda: tab.locator("#scale label", has_text="x2").click(), "plain enlargement"),
        (lambda: tab.locator("#strength input[type=range]").press("ArrowLeft"), "plain enlargement"),
    ):
        change()
        held.wait("second.png")
        working(tab, "second.png", words)
        held.let_go()
        tab.locator("#download").wait_for(timeout=WAIT)
    assert held.begun.empty()  # each wish was worked on once


def test_a_result_that_is_not_wanted_any_more_is_dropped(tab, tmp_path, hold):
    held = hold()
    upload(tab, save(tmp_path / "first.png", scene(10, 11)), "first.png: finding")
    held.wait("first.png")
    upload(tab, save(tmp_path / "second.png", scene(12)), "second.png: finding")
    held.let_go()  # the first
    held.wait("second.png")
    working(tab, "second.png")
    choose(tab, "SRCNN (x4, x8), yours")
    working(tab, "SRCNN")
    held.let_go()  # the second by WNetLite
    held.wait("second.png")
    working(tab, "SRCNN")
    held.let_go()
    tab.locator("#status", has_text="second.png: 1 face found").wait_for(timeout=WAIT)
    tab.get_by_role("tab", name="Faces").click()
    assert "restored by SRCNN x8" in tab.locator("#list").inner_text()

    upload(tab, save(tmp_path / "third.png", scene(12)), "third.png: finding")
    held.wait("third.png")
    tab.locator('#photo button[aria-label="Clear"]').click()
    tab.locator("#status", has_text="Drop a photo").wait_for(timeout=WAIT)
    held.let_go()
    upload(tab, save(tmp_path / "fourth.png", scene(12)), "fourth.png: finding")  # its turn comes after the third
    held.wait("fourth.png")
    working(tab, "fourth.png")
    held.let_go()
    tab.locator("#status", has_text="fourth.png: 1 face found").wait_for(timeout=WAIT)


@pytest.mark.parametrize("name", ["bad.jpg", "Bad one.PNG", "ümlaut.webp"])
def test_what_failed_has_its_own_name_and_no_result_beside_it(tab, tmp_path, name):
    upload(tab, save(tmp_path / "good.png", scene(12)), "1 face found")
    (tmp_path / name).write_bytes(b"no photo at all\n" * 20)
    upload(tab, tmp_path / name, f"{name} cannot be used")
    assert tab.locator("#status .error").inner_text().startswith(f"{name} cannot be used: ")
    assert tab.locator("#shown").is_hidden()


def test_an_example_is_restored_by_a_click(tab):
    pytest.importorskip("skimage", reason="scikit-image is not installed, which brings the example photos")
    assert tab.locator("#examples button").count() > 0
    tab.locator("#examples button").first.click()
    tab.locator("#status", has_text="pixels").wait_for(timeout=WAIT)
    assert tab.locator("#download").is_visible()


def test_other_names_and_the_documentation_of_an_api_are_refused(address):
    request = urllib.request.Request(address, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="421"):
        urllib.request.urlopen(request, timeout=10)
    for path in ("/docs", "/openapi.json"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + path, timeout=10)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_command_ends_cleanly(name, tmp_path, weights):
    need_gradio()
    need_file("mtcnn", download=True)  # fetched here: the command would say so where nothing is to be said
    environment = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "wnet_arch.cli.wnet", "demo", "--no-open", "--port", "0", "--weights", weights["SRCNN_x8"]]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        assert len(list(tmp_path.glob("wnet-demo-*"))) == 1
        with urllib.request.urlopen(line.split()[0], timeout=20) as answer:
            assert b"https://fonts." not in answer.read()
        process.send_signal(getattr(signal, name))
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    assert list(tmp_path.glob("wnet-demo-*")) == []
