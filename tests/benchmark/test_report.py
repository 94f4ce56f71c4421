"""The report in a real browser, the charts' numbers, and the figure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from tests.benchmark.test_benchmark import IDENTITY, PSNR, go, handmade, train_nothing
from tests.conftest import drawn_face, write_folders
from wnet_arch import create_network
from wnet_arch.benchmark import charts, drawings, figure, report
from wnet_arch.benchmark import results as results_module
from wnet_arch.benchmark.cache import Cache
from wnet_arch.benchmark.figure import FigureOptions
from wnet_arch.cli.common import run_command
from wnet_arch.cli.wnet import _main
from wnet_arch.data.decoding import image_tensor
from wnet_arch.errors import DataError, UsageError
from wnet_arch.faces import labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory, face_set):
    """A benchmark of four networks at two scales on six drawn faces; one has a name that is HTML."""
    out = tmp_path_factory.mktemp("bench")
    runs = [train_nothing(out / "runs", "SRCNN_x8"), train_nothing(out / "runs", "SRCNN_x4", scale=4, seed=1)]
    wnet = train_nothing(out / "runs", "wnet", kind="WNet", num_feat=8, peak=1)
    networks = ["Bicubic", f"SRCNN={runs[0]}", f"SRCNN={runs[1]}", f"<b>&W={wnet}"]
    go(out, networks, [face_set], protocols=("dic", "rgb"))
    return out


@pytest.fixture(scope="module")
def page(folder):
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawings, "add_landmarks", _invented_landmarks)
        patch.setattr(drawings, "add_parsing", _invented_maps)
        return report.write(_with_identity(results_module.load(folder)), folder, count=5)


def _with_identity(results):
    """Adds a column that would need a face recognition network; one face in three is not found."""
    rng = np.random.default_rng(2)
    results.columns.append(IDENTITY)
    for place, table in results.values.items():
        similar = rng.uniform(0.2, 0.9, (len(table), 1))
        similar[::3] = np.nan
        results.values[place] = np.hstack([table, similar])
    results.scores.clear()
    return results_module.evaluate(results)


def _invented_landmarks(results, cache, drawn, scale):
    rng = np.random.default_rng(0)
    for number, face in enumerate(drawn):
        for who in (drawings.TRUE, *face.sr):
            face.landmarks[who] = rng.uniform(5, 60, (68, 2)) if number or who != "Bicubic" else np.full((68, 2), np.nan)


def _invented_maps(results, cache, drawn, scale):
    for face in drawn:
        for who in (drawings.TRUE, *face.sr):
            face.parsing[who] = np.full((64, 64), labels.NOSE, np.uint8)


def test_the_page_asks_nothing_of_the_network_and_escapes_names(page):
    html = page.read_text(encoding="utf-8")
    markup = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert "default-src 'none'" in markup
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", markup)
    assert "&lt;b&gt;&amp;W" in markup
    assert "<b>&W" not in html


def test_the_page_holds_the_numbers_of_the_results(page, folder):
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1])
    results = results_module.load(folder)
    place = data["places"]["faces|8"]
    assert len(place["faces"]) == 5
    keys = results.sets[0].keys
    for face in place["faces"]:
        row = results.values["faces", 8, "SRCNN"][keys.index(face["key"])]
        assert face["values"]["SRCNN"][:4] == pytest.approx(row, abs=1e-3)
    psnr = results.values["faces", 8, "Bicubic"][:, 0]
    cases = dict(place["cases"])
    assert list(cases) == ["Bicubic", "SRCNN", "<b>&W"]
    assert cases["Bicubic"]["worst"][0] == [keys[psnr.argmin()], pytest.approx(psnr.min(), abs=1e-3)]
    assert cases["Bicubic"]["best"][0] == [keys[psnr.argmax()], pytest.approx(psnr.max(), abs=1e-3)]
    assert {"<b>&W", "HR"} == set(place["faces"][0]["estimated"])


def test_maps_of_every_network_that_estimates_one_are_drawn(tmp_path, face_set):
    small = {"kind": "WNetLite", "num_feat": 16, "num_heads": 1, "depths": [1, 1, 1, 1]}
    guided, without = (train_nothing(tmp_path, name, parsing=name == "guided", **small) for name in ("guided", "without"))
    srcnn = train_nothing(tmp_path, "SRCNN_x8")
    go(tmp_path / "bench", [f"Guided={guided}", f"Without={without}", f"SRCNN={srcnn}"], [face_set])
    results = results_module.load(tmp_path / "bench")
    with Cache(tmp_path / "bench") as cache:
        drawn = drawings.faces(results, cache, results.sets[0], 8, results.sets[0].keys[:2])
        drawings.add_estimated(results, cache, drawn, results.sets[0], 8)
    net = create_network("WNetLite", 8, parsing=True, **{key: value for key, value in small.items() if key != "kind"}).eval()
    net.load_state_dict(torch.load(guided / "models" / "net_g_latest.pth", weights_only=True)["params"])
    for face in drawn:
        assert set(face.estimated) == {"Guided", "HR"}
        with torch.inference_mode():
            expected = net(image_tensor(face.lr)[None], return_aux=True).parsing[0].mean(0).clamp(0, 1) * 255
        assert np.abs(face.estimated["Guided"] - expected.numpy()).max() <= 0.51


def test_a_page_of_weights_that_are_gone_or_have_changed_keeps_the_maps_it_knows(tmp_path, face_set, capsys):
    small = {"kind": "WNetLite", "num_feat": 16, "num_heads": 1, "depths": [1, 1, 1, 1]}
    runs = [train_nothing(tmp_path, name, seed=seed, **small) for seed, name in enumerate(("known", "changed", "gone"))]
    srcnn = train_nothing(tmp_path, "SRCNN_x8")
    go(tmp_path / "bench", [*(f"{run.name}={run}" for run in runs), f"SRCNN={srcnn}"], [face_set])
    results = results_module.load(tmp_path / "bench")
    keys = results.sets[0].keys[:2]

    def estimated(records) -> set:
        results.networks = records
        results.__post_init__()
        with Cache(tmp_path / "bench") as cache:
            drawn = drawings.faces(results, cache, results.sets[0], 8, keys)
            drawings.add_estimated(results, cache, drawn, results.sets[0], 8)
        return set(drawn[0].estimated)

    every = list(results.networks)
    assert estimated(every[:1]) == {"known", "HR"}
    weights = [run / "models" / "net_g_latest.pth" for run in (*runs, srcnn)]
    torch.save({"params": create_network("SRCNN", 8).state_dict()}, weights[1])
    for path in (weights[0], weights[2], weights[3]):
        path.unlink()
    capsys.readouterr()
    assert estimated(every) == {"known", "HR"}
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"note: the map that changed estimates is left out: {weights[1]} has changed since the benchmark",
        f"note: the map that gone estimates is left out: its weights {weights[2]} are gone",
    ]


@pytest.mark.parametrize("what", ["sr", "hr"])
def test_images_that_are_not_those_of_the_numbers_are_refused(tmp_path, what):
    hr, sr = (write_folders(tmp_path / name, 3) / "gt" for name in ("hr", "sr"))
    go(tmp_path / "bench", [f"mine={sr}"], [hr], scales=[8])
    results = results_module.load(tmp_path / "bench")

    def drawn():
        with Cache(tmp_path / "bench") as cache:
            return drawings.faces(results, cache, results.sets[0], 8, results.sets[0].keys)

    assert len(drawn()) == 3
    changed = {"sr": sr, "hr": hr}[what] / "face001.png"
    Image.fromarray(drawn_face(9)[0]).save(changed)
    with pytest.raises(DataError, match="face001 of gt, or what mine made of it, has changed since the benchmark: run it again"):
        drawn()
    changed.unlink()
    with pytest.raises(DataError, match=r"mine: .* lacks 1 of the faces|has lost 1 of its faces"):
        drawn()


def test_a_table_that_had_the_papers_numbers_keeps_them(tmp_path, face_set, monkeypatch):
    monkeypatch.setattr(report, "write", lambda results, folder, count: folder)
    for paper in (True, False):
        go(tmp_path / "bench", ["Bicubic"], [f"CelebA={face_set}"], scales=[8], paper=paper)
        before = (tmp_path / "bench" / "table.md").read_text()
        assert ("paper" in before) is paper
        assert _main(["report", "html", str(tmp_path / "bench")]) == 0
        assert (tmp_path / "bench" / "table.md").read_text() == before


def test_a_page_of_one_face_can_be_read(tmp_path, face_set):
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    go(tmp_path / "bench", ["Bicubic", train_nothing(tmp_path, "SRCNN_x8")], [face_set], limit=1)
    html = report.write(results_module.load(tmp_path / "bench"), tmp_path / "bench", count=1).read_text(encoding="utf-8")

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    for content in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.S):
        json.loads(content, parse_constant=refuse)


def test_numbers_are_written_as_the_page_reads_them():
    assert [report._sortable(value) for value in (26.5, np.inf, -np.inf, np.nan)] == ["26.5", "Infinity", "-Infinity", ""]


def test_pictures_in_the_page_are_exact():
    import base64
    import io

    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for kind in ("WEBP", "PNG"):
        data = base64.b64decode(report._uri(image, kind).partition(",")[2])
        assert (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) == image).all()


def test_the_identity_curve_counts_every_face():
    values = np.array([[20, 0.9], [21, 0.5], [22, np.nan], [23, 0.1]], float)
    spec = charts.identity_curve(handmade({"Bicubic": {}}, {"Bicubic": values}, [PSNR, IDENTITY]), "celeba_val", 8)
    share = {row["threshold"]: row["share"] for row in spec["data"]["values"]}  # from 0.1 to 1 in steps of 0.009
    assert (share[0.1], share[0.109], share[0.496], share[0.505], share[0.892], share[0.901]) == (0.75, 0.5, 0.5, 0.25, 0.25, 0.0)
    assert charts.identity_curve(handmade({"Bicubic": {}}, {"Bicubic": values[:, :1]}, [PSNR]), "celeba_val", 8) is None


@pytest.mark.parametrize(("width", "long"), [(290, False), (290, True), (1100, False)])
def test_no_name_of_the_identity_curve_is_cut_off(width, long):
    convert = pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    names = [f"Network{i}" for i in range(14)] + ["SRResNet_trained_for_long"] * long
    values = np.array([[20, 0.9], [21, 0.5]], float)
    results = handmade({name: {} for name in names}, dict.fromkeys(names, values), [PSNR, IDENTITY])
    spec = {**charts.identity_curve(results, "celeba_val", 8), "width": width, "autosize": {"type": "fit-x", "contains": "padding"}}
    drawing = ElementTree.fromstring(convert.vegalite_to_svg(json.loads(json.dumps(spec))))
    ends = dict(_texts(drawing))
    assert set(names) <= ends.keys()
    assert max(ends[name] for name in names) <= width
    rows = len({place for name, place in _texts(drawing, 1) if name in names})
    assert rows == (15 if long else {290: 7, 1100: 3}[width])


def _texts(element, axis: int = 0, before: float = 0.0):
    """Texts of a drawing with where they end, or with their heights (axis 1)."""
    moved = re.match(r"translate\(([-\d.]+),([-\d.]+)\)", element.get("transform", ""))
    place = before + (float(moved[axis + 1]) if moved else 0.0)
    if element.tag.endswith("text") and element.text:
        yield element.text, place + (6 * len(element.text) if axis == 0 else 0)
    for child in element:
        yield from _texts(child, axis, place)


def test_chosen_faces_hold_every_networks_extremes():
    rng = np.random.default_rng(1)
    values = {name: rng.normal(25, 3, (200, 1)) for name in ("Bicubic", "a", "b")}
    results = handmade({name: {} for name in values}, values, [PSNR])
    cases = report.worst_and_best(results, results.sets[0], 8)
    chosen = report.choose_faces(results.sets[0], 24, cases)
    assert len(chosen) == len(set(chosen)) == 24
    for table in values.values():
        assert f"f{table[:, 0].argmin()}" in chosen
        assert f"f{table[:, 0].argmax()}" in chosen
    assert report.choose_faces(results.sets[0], 500, cases) == results.sets[0].keys


@pytest.fixture
def tab(browser, page):
    """The report, opened. Fails if the page logs an error or asks for anything."""
    tab = browser.new_page(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    complaints = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:", "blob:")) else complaints.append(request.url)
    )
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-ready]", timeout=60_000)
    yield tab
    tab.close()
    assert complaints == []


def test_tables_sort_by_click_and_by_key(tab):
    def column():
        cells = tab.locator('#results [data-place="faces|4"] .sortable tbody td:nth-of-type(1)')
        return [float(value) for value in cells.evaluate_all("cells => cells.map((cell) => cell.dataset.value)")]

    tab.locator('[data-place-button="faces|4"]').click()
    heading = tab.locator('#results [data-place="faces|4"] .sortable thead th.number').first
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"  # higher is better, so the best comes first
    assert column() == sorted(column(), reverse=True)
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(column())


def test_columns_that_fit_no_screen_are_seen_on_request(tab):
    place = '#results [data-place="faces|8"]'

    def seen():
        return [heading.inner_text() for heading in tab.locator(f"{place} th[scope=colgroup]").all() if heading.is_visible()]

    switches = [box.get_attribute("data-group-switch") for box in tab.locator("[data-group-switch]").all()]
    first = [box.get_attribute("data-group-switch") for box in tab.locator("[data-group-switch]:checked").all()]
    assert seen() == first != switches
    hidden = next(name for name in switches if name not in first)
    tab.locator("#results label", has_text=hidden).click()
    assert seen() == [name for name in switches if name in (*first, hidden)]
    tab.locator("#results label", has_text=first[0]).click()
    assert first[0] not in seen()
    cells = tab.locator(f"{place} .sortable tbody tr").first.locator("td:visible").count()
    headings = tab.locator(f"{place} .sortable thead tr").nth(1).locator("th.number:visible").count()
    assert cells == headings > 0


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("psnr_dic", "ssim_dic"), ["protocol dic"]),
        (("psnr_rgb", "psnr_dic", "lpips", "parsing_iou", "parsing_iou_nose"), ["protocol rgb", "perceptual", "downstream"]),
        (("lpips", "identity", "parsing_iou_eyes", "landmark_nme"), ["perceptual", "downstream"]),
    ],
)
def test_the_first_protocol_and_whole_faces_are_seen_first(names, first):
    parts = [(*name.rpartition("_"), name) for name in names]
    columns = [
        replace(
            PSNR, id=name, key=key if protocol in ("dic", "rgb") else name, protocol=protocol if protocol in ("dic", "rgb") else ""
        )
        for key, _, protocol, name in parts
    ]
    groups = report.column_groups(columns)
    assert [group.heading for group in groups if group.first] == first
    assert sorted(column.id for group in groups for column in group.columns) == sorted(names)


def test_charts_are_drawn_and_follow_their_metric(tab):
    assert tab.locator("#chart-differences svg").count() == 1
    before = tab.locator("#chart-differences svg").inner_html()
    tab.locator('[data-metric-of="differences"]').select_option("ssim_rgb")
    tab.wait_for_function("before => document.querySelector('#chart-differences svg').innerHTML !== before", arg=before)
    tab.locator('[data-place-button="faces|4"]').click()
    tab.wait_for_function("document.querySelectorAll('#chart-identity svg .mark-line path').length === 2")
    legend = tab.locator("#chart-identity svg .role-legend-label").all_text_contents()
    assert legend == ["Bicubic", "SRCNN"]


def test_the_page_opens_where_most_networks_are_compared(tab):
    pressed = tab.locator('[data-place-button][aria-pressed="true"]').all_inner_texts()
    assert pressed == ["faces x8"]  # three networks; x4, which comes first, has two
    assert tab.locator("#left").input_value() != tab.locator("#right").input_value()


@pytest.mark.parametrize("width", [360, 1200])
def test_names_beside_the_points_of_a_crowded_chart_lie_nowhere_over_each_other(browser, folder, tmp_path, monkeypatch, width):
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    values = {f"Network{i}": np.array([[24 + i % 2 / 8, i / 13], [26, 0.5]]) for i in range(13)}
    results = handmade({name: {} for name in values}, values, [PSNR, IDENTITY])
    results.about = results_module.load(folder).about
    results.networks = [replace(one, macs=int(1e9 * 1.3**i), parameters=10**6) for i, one in enumerate(results.networks)]
    monkeypatch.setattr(drawings, "faces", lambda *everything: [])
    (tmp_path / "report.html").write_text(report.page(results, tmp_path, 0), encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 740})
    tab.goto((tmp_path / "report.html").as_uri())
    tab.wait_for_selector("html[data-ready]", timeout=60_000)
    for metric in ("psnr_dic", "identity"):
        tab.locator('[data-metric-of="cost"]').select_option(metric)
        boxes = tab.locator("#chart-cost svg .mark-text:not([class*=role-axis]) text").evaluate_all(
            "texts => texts.filter((text) => text.textContent.startsWith('Network') && text.getAttribute('opacity') !== '0')"
            ".map((text) => text.getBoundingClientRect()).map(({left, right, top, bottom}) => [left, top, right, bottom])"
        )
        assert len(boxes) >= (6 if (width, metric) == (360, "psnr_dic") else 13)  # that one has two rows with no room for all
        for i, (left, top, right, bottom) in enumerate(boxes):
            assert all(left >= r or right <= x or top >= b - 3 or bottom - 3 <= y for x, y, r, b in boxes[:i])
        assert min(box[0] for box in boxes) >= 0
        assert max(box[2] for box in boxes) <= width
    tab.close()


def test_choosing_a_face_a_view_and_a_place(tab):
    tab.locator('[data-place-button="faces|8"]').click()
    assert tab.locator('[data-place="faces|4"]').first.is_hidden()
    assert tab.locator("#strip button").count() == 5
    tab.locator("#strip button").nth(2).click()
    key = tab.locator("#strip button").nth(2).get_attribute("data-face")
    assert tab.locator("#face-name").inner_text() == key
    tab.locator("#strip button").nth(2).press("ArrowRight")
    assert tab.locator("#face-name").inner_text() == tab.locator("#strip button").nth(3).get_attribute("data-face")
    tab.locator("#next").click()
    assert tab.locator("#face-name").inner_text() == tab.locator("#strip button").nth(4).get_attribute("data-face")
    assert tab.locator("#panels figure").count() == 5  # LR, three networks, HR

    tab.locator("#views label", has_text="Landmarks").click()
    assert tab.locator("#panels svg circle").count() >= 3 * 2 * 68
    tab.locator("#views label", has_text="Parsing").click()
    assert tab.locator('#panels img[alt$="map"]').count() == 4
    tab.locator("#views label", has_text="Estimated").click()
    assert tab.locator("#panels figure").count() == 3  # LR, W-Net, HR
    assert tab.locator('#panels img[alt$="map"]').count() == 2
    tab.locator("#views label", has_text="Error").click()
    assert tab.locator("#panels img.minus").count() == 3


def test_a_face_that_was_not_found_is_named(tab):
    tab.locator('[data-place-button="faces|4"]').click()
    tab.locator("#views label", has_text="Landmarks").click()
    first = tab.evaluate("JSON.parse(document.getElementById('data').textContent).places['faces|4'].faces[0].key")
    tab.locator(f'#strip button[data-face="{first}"]').click()
    assert "no face found" in tab.locator("#panels figure", has_text="Bicubic").inner_text()


def test_the_faces_open_on_a_typical_face_of_the_best_network(tab, folder):
    results = results_module.load(folder)
    for scale in (4, 8):
        tab.locator(f'[data-place-button="faces|{scale}"]').click()
        means = {n.name: results.score("faces", scale, n.name, results.columns[0].id).mean for n in results.at(scale)}
        assert results.columns[0].better == "higher"
        best = max(means, key=means.get)
        assert tab.locator("#order-network").input_value() == tab.locator("#right").input_value() == best
    tab.reload()
    tab.wait_for_selector("html[data-ready]", timeout=60_000)
    pressed = [one.get_attribute("aria-pressed") for one in tab.locator("#strip button").all()]
    assert pressed.index("true") == len(pressed) // 2
    assert tab.locator("#face-name").inner_text() == tab.locator("#strip button").nth(len(pressed) // 2).get_attribute("data-face")


@pytest.mark.parametrize(
    ("column", "values", "best"),
    [
        (PSNR, {"Bicubic": [20, 21], "a": [25, 26], "b": [24, 30]}, "b"),
        (PSNR, {"a": [30, 31], "Bicubic": [20, 21]}, "a"),
        (PSNR, {"a": [25, np.nan], "b": [np.nan, np.nan]}, "a"),
        (PSNR, {"a": [25, 25], "b": [25, 25]}, "b"),
        (PSNR, {"a": [30, np.nan], "b": [31, 20]}, "b"),
        (replace(PSNR, better="lower"), {"a": [0.3, 0.4], "b": [0.5, 0.6], "Bicubic": [0.9, 0.8]}, "a"),
    ],
)
def test_the_best_network_is_found_by_the_first_column(column, values, best):
    tables = {name: np.array(found, float)[:, None] for name, found in values.items()}
    results = handmade({name: {} for name in values}, tables, [column])
    assert report.best_network(results, results.sets[0], 8) == best


def test_order_and_cases(tab):
    def shown():
        return [float(text) for text in tab.locator("#strip button").all_inner_texts()]

    assert shown() == sorted(shown())
    tab.locator("#order-turn").click()
    assert shown() == sorted(shown(), reverse=True)
    case = tab.locator("#cases button").last
    case.click()
    assert tab.locator("#face-name").inner_text() == case.get_attribute("data-case")
    assert tab.locator("#right").input_value() == case.get_attribute("data-network")


def test_slider_by_pointer_and_by_key(tab):
    def cut():
        return float(tab.locator("#stage").evaluate("node => node.style.getPropertyValue('--cut').replace('%', '')"))

    assert cut() == 50
    tab.locator("#slider").focus()
    tab.keyboard.press("ArrowLeft")
    assert cut() == 49.5
    box = tab.locator("#stage").bounding_box()
    tab.locator("#slider").click(position={"x": 0.8 * box["width"], "y": 20})
    assert cut() == pytest.approx(80, abs=4)
    tab.locator("#left").select_option("HR")
    assert tab.locator("#tag-left").inner_text() == "HR"


def test_zoom_and_pan_move_all_images_together(tab):
    views = tab.locator("#panels .inner")

    def place():
        """Scale and shift in parts of the width, which all images have in common."""
        found = views.evaluate_all(
            "nodes => nodes.map((n) => { const m = new DOMMatrix(getComputedStyle(n).transform); "
            "return [m.a, m.e / n.clientWidth, m.f / n.clientWidth]; })"
        )
        assert np.ptp(found, axis=0).max() < 0.01
        return found[0]

    assert place() == [1, 0, 0]
    tab.locator("#zoom").fill("4")
    zoomed = place()
    assert zoomed == pytest.approx([4, -1.5, -1.5], abs=0.02)  # the middle quarter
    tab.locator("#panels .view").first.scroll_into_view_if_needed()
    box = tab.locator("#panels .view").first.bounding_box()
    tab.mouse.move(box["x"] + 60, box["y"] + 60)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 20, box["y"] + 30, steps=3)
    tab.mouse.up()
    shift = (place()[1] - zoomed[1]) * box["width"], (place()[2] - zoomed[2]) * box["width"]
    assert shift == pytest.approx((-40, -30), abs=2)  # as far as the pointer went


def test_on_paper_nothing_is_cut_off(tab):
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 720, "height": 1000})
    assert tab.locator('[data-place="faces|8"] table.paper').is_visible()
    assert tab.locator("#strip").is_hidden()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 720


def test_a_phone_needs_no_sideways_scrolling(browser, page):
    tab = browser.new_page(viewport={"width": 360, "height": 740})
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-ready]", timeout=60_000)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.close()


# --- the figure ----------------------------------------------------------------------------------------------------------------


def test_the_figure(folder, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    argv = ["report", "figure", str(folder), "--faces", "2", "--scale", "8", "--dpi", "100", "-o"]
    assert run_command("wnet", _main, [*argv, str(tmp_path / "figure.png")]) == 0
    with Image.open(tmp_path / "figure.png") as image:
        assert image.size == (500, round(100 * (2 * (2 + figure._NOTE) + 0.25)))
        assert len(np.unique(np.asarray(image.convert("L")))) > 50
    assert run_command("wnet", _main, [*argv, str(tmp_path / "figure.pdf")]) == 0
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    svg = tmp_path / "figure.svg"
    assert run_command("wnet", _main, [*argv, str(svg), "--names", "face003", "--networks", "SRCNN"]) == 0
    results = results_module.load(folder)
    psnr, ssim = results.values["faces", 8, "SRCNN"][results.sets[0].keys.index("face003")][:2]
    assert f"{psnr:.2f} / {ssim:.4f}" in svg.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["face03"]}, "has no face face03; did you mean"),
        ({"networks": ["SRCN"]}, "no 'SRCN' at x8; did you mean 'SRCNN'"),
        ({"set_name": "face"}, "no set 'face'; did you mean 'faces'"),
        ({"scale": 2}, "has x4, x8, not x2"),
        ({"crop": (0.8, 0.1, 0.3)}, "reaches out of the image"),
        ({"faces": 7}, "--faces: 1 to 6, which is what .* has, not 7"),
    ],
)
def test_figures_that_cannot_be_drawn(folder, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        figure.write(results_module.load(folder), folder, tmp_path / "a.png", FigureOptions(**options))
    with pytest.raises(UsageError, match="not the name of"):
        figure.write(results_module.load(folder), folder, tmp_path / "a.bmp", FigureOptions())


def test_a_folder_without_results(tmp_path):
    with pytest.raises(DataError, match="does not hold the results of `wnet benchmark`"):
        results_module.load(tmp_path)
    (tmp_path / "results.json").write_text('{"format": "wnet benchmark", "version": 1}')
    with pytest.raises(DataError, match="KeyError"):
        results_module.load(tmp_path)
