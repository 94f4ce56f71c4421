"""The page: a photo goes in, its faces are found and restored, and before and after can be compared and downloaded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import cv2
import gradio as gr

from wnet_arch.demo.choices import PLAIN, SCALES, Choices
from wnet_arch.demo.latest import Latest
from wnet_arch.demo.limits import ENDINGS, Limits
from wnet_arch.demo.store import Store
from wnet_arch.demo.visitors import Visitors
from wnet_arch.demo.work import Shown, restore_upload
from wnet_arch.errors import UsageError, WNetError
from wnet_arch.restore import STATEMENT

TITLE = "Sharper small faces"
STYLE = Path(__file__).with_name("page.css")
#: What may go wrong with one photo: torch and OpenCV report a lack of memory as theirs, a full disk is an OSError.
_TROUBLE = (WNetError, OSError, MemoryError, RuntimeError, cv2.error)
_AS_NEEDED = "as the faces need"
_INVITATION = "<p>Drop a photo, or choose an example.</p>"
_SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")


def theme() -> gr.themes.Base:
    """Colours dark enough for white text on them, and the system's own fonts; nothing is loaded for either."""
    base = gr.themes.Base(
        primary_hue="teal", neutral_hue="slate", radius_size="lg", font=_SYSTEM_FONTS, font_mono=("ui-monospace", "monospace")
    )
    return base.set(
        button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700", button_primary_background_fill_hover_dark="*primary_600",
        slider_color="*primary_700", slider_color_dark="*primary_500", color_accent="*primary_700",
    )  # fmt: skip


def build_page(
    choices: Choices,
    limits: Limits,
    store: Store,
    visitors: Visitors,
    examples: Sequence[tuple[str, str]] = (),
    missing: str = "",
) -> gr.Blocks:
    """The page, to be mounted by a server.

    Args:
        choices: the networks.
        limits: of uploads.
        store: of uploads and results; its folder is Gradio's folder for files, or below it.
        visitors: whose they are.
        examples: paths and captions.
        missing: which examples are missing, and how to get them.
    """
    with gr.Blocks(title=f"W-Net: {TITLE.lower()}", analytics_enabled=False) as page:
        gr.HTML(_header(), padding=False, elem_id="head")
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=2, min_width=300, elem_id="inputs"):
                inputs = _Inputs(choices, limits, examples, missing)
            with gr.Column(scale=5, min_width=320, elem_id="results"):
                outputs = _Outputs()
        _connect(inputs, outputs, _Handlers(choices, limits, store, visitors))
    page.queue(default_concurrency_limit=1, max_size=16, api_open=False)
    return page


def _header() -> str:
    what = "Finds the small faces of a photo and enlarges them with a network that has learnt what faces look like."
    where = "Everything happens on this computer: no photo leaves it, and all are deleted when the program ends."
    return f"<h1>{TITLE}</h1><p>{what} {where}</p><p role='note' class='statement'>{escape(STATEMENT)}</p>"


class _Inputs:
    """The column with the photo and the settings."""

    def __init__(self, choices: Choices, limits: Limits, examples: Sequence[tuple[str, str]], missing: str):
        self.photo, self.since = gr.State(), gr.State(0.0)
        self.clock, self.number = gr.Number(0, visible=False), gr.Number(0, visible=False)
        self.file = gr.File(label=f"Photo, {limits}", file_types=list(ENDINGS), height=150, elem_id="photo")
        self.examples = []
        if examples:
            gr.HTML("<p>Or try one of these</p>", padding=False, elem_id="or")
            with gr.Row(elem_id="examples"):
                self.examples = [(gr.Button(caption, icon=path, size="sm", min_width=80), path) for path, caption in examples]
        if missing:
            gr.HTML(f"<small>Not here: {escape(missing)}</small>", padding=False, elem_id="missing")
        self.network = gr.Dropdown(choices.labels, value=choices.first, label="Network", filterable=False, elem_id="network")
        self.strength = gr.Slider(
            0, 1, value=1, step=0.05, label="Strength", info="0: plain enlargement, 1: restored", buttons=[], elem_id="strength"
        )
        self.scale = gr.Radio(
            [(_AS_NEEDED, 0), *((f"x{scale}", scale) for scale in SCALES)], value=0, label="Enlarge the photo", elem_id="scale"
        )

    @property
    def settings(self) -> list:
        """What a restorer is asked for with."""
        return [self.photo, self.network, self.strength, self.scale]


class _Outputs:
    """The column with the results."""

    #: How many :attr:`list_of_all` has.
    COUNT = 13

    def __init__(self):
        self.pairs = gr.State([])
        self.status = gr.HTML(_INVITATION, padding=False, elem_id="status")
        with gr.Column(visible=False, elem_id="shown") as self.all:
            with gr.Tabs(selected="compare", elem_id="views") as self.tabs:
                with gr.Tab("Compare", id="compare"):
                    self.slider = gr.ImageSlider(
                        show_label=False, container=False, interactive=False, buttons=["fullscreen"], max_height=620,
                        elem_id="slider",
                    )  # fmt: skip
                    self.seen = gr.HTML(padding=False, elem_id="seen")
                    self.whole = gr.Button("Show the whole photo again", size="sm", visible=False, elem_id="whole")
                with gr.Tab("Faces", id="found"):
                    self.boxes = gr.Image(show_label=False, container=False, interactive=False, buttons=[], elem_id="boxes")
                    self.list = gr.HTML(padding=False, elem_id="list")
                with gr.Tab("Parsing", id="parsing"):
                    self.parsing = gr.Image(show_label=False, container=False, interactive=False, buttons=[], elem_id="parsing")
                    self.about_parsing = gr.HTML(padding=False, elem_id="about-parsing")
            self.download = gr.DownloadButton("Download the restored photo (PNG)", variant="primary", elem_id="download")
            self.about_faces = gr.HTML(
                "<h2>Faces before and after</h2><p>Choose one to see it in the photo.</p>", padding=False, elem_id="about-faces"
            )
            self.faces = gr.Gallery(
                show_label=False, columns=3, height="auto", object_fit="contain", allow_preview=False,
                container=False, interactive=False, buttons=[], elem_id="faces",
            )  # fmt: skip

    @property
    def list_of_all(self) -> list:
        """In the order of :meth:`_Handlers.show`."""
        return [
            self.status, self.all, self.pairs, self.slider, self.seen, self.whole, self.boxes, self.list, self.parsing,
            self.about_parsing, self.download, self.about_faces, self.faces,
        ]  # fmt: skip

    @property
    def view(self) -> list:
        """What changes when a face, or the whole photo, is looked at."""
        return [self.slider, self.seen, self.whole, self.tabs]


class _Handlers:
    """What happens on events.

    The page is in one of four states: nothing, working, done, failed. What belongs to one is never seen in another: each new wish
    clears the results before any work begins (:meth:`begin`), and what was made for an older wish is dropped (:meth:`show`).
    """

    def __init__(self, choices: Choices, limits: Limits, store: Store, visitors: Visitors):
        self.choices, self.limits, self.store, self.visitors, self.latest = choices, limits, store, visitors, Latest()

    def begin(self, photo: str | None, network: str, strength: float, scale: float, request: gr.Request) -> list:
        """Says at once what is being worked on, with no result beside it; and the number of this wish."""
        number = self.latest.ask(request.session_hash, (photo, network, strength, scale))
        if number is None:
            return [*_unchanged(), gr.skip()]
        if not photo:
            return [*_only(_INVITATION), number]
        working = f"<p role='status' class='working'><b>{escape(Path(photo).name)}</b>: {escape(_said(network))} ...</p>"
        return [*_only(working), number]

    def show(self, photo: str | None, network: str, strength: float, scale: float, number: int, request: gr.Request) -> list:
        """Restores the photo; what cannot be done is said in its place, and the page goes on."""
        wish = photo, network, strength, scale
        if not photo or not self.latest.take(request.session_hash, wish, number):
            return _unchanged()
        done = False
        try:
            found = _everything(self._restored(photo, network, float(strength), float(scale) or None, request))
            done = True
        except WNetError as error:
            found = _failed(photo, str(error))
        except _TROUBLE as error:
            found = _failed(photo, f"this photo could not be restored: {type(error).__name__}: {error}")
        if not self.latest.is_last(request.session_hash, wish):
            return _unchanged()
        if not done:
            self.latest.forget(request.session_hash)
        return found

    def _restored(self, photo: str, network: str, strength: float, scale: float | None, request: gr.Request) -> Shown:
        restorer = self.choices.restorer(network, strength, scale)
        owner, session = self.visitors.owner(request.headers.get("cookie")), request.session_hash
        path = self.store.photo(owner, photo)  # the gate has looked at paths in requests; this looks at all
        if owner is None or session is None:
            raise UsageError("open the page again: this browser is not known, or the program was started again")
        with self.store.results(owner, session) as folder:
            return restore_upload(str(path), restorer, self.limits, folder)

    @staticmethod
    def look(pairs: list, index: int | None) -> list:
        """The slider with the whole photo, or with one face."""
        number = 0 if index is None or not 0 <= index < len(pairs) - 1 else index + 1
        return [pairs[number][0], _seen(pairs[number][1]), gr.update(visible=number > 0), gr.update(selected="compare")]


def _everything(shown: Shown) -> list:
    whole = ((shown.before, shown.after), "the whole photo")
    closer = [(pair, f"face {caption}") for pair, (_, caption) in zip(shown.close_ups, shown.faces)]
    return [
        f"<p>{shown.summary}</p>",
        gr.update(visible=True),
        [whole, *closer],
        gr.update(value=whole[0]),
        _seen(whole[1]),
        gr.update(visible=False),
        shown.boxes,
        shown.lines,
        gr.update(value=shown.parsing, visible=shown.parsing is not None),
        f"<p>{shown.about_parsing}</p>",
        shown.download,
        gr.update(visible=bool(shown.faces)),
        gr.update(value=shown.faces, visible=bool(shown.faces)),
    ]


def _only(message: str) -> list:
    """A message, and no result."""
    return [message, gr.update(visible=False), [], None, "", gr.update(visible=False), None, "", None, "", None, gr.update(), None]


def _failed(photo: str, message: str) -> list:
    """Why there is no result, in a line that names the photo as its file is called."""
    line, name = " ".join(message.split())[:300].rstrip("."), Path(photo).name
    if not line.startswith(name):
        line = f"{name}: {line}"
    return _only(f"<p role='alert' class='error'>{escape(line)}.</p>")


def _unchanged() -> list:
    return [gr.skip()] * _Outputs.COUNT


def _said(network: str) -> str:
    return "plain enlargement" if network == PLAIN else f"finding and restoring faces, network {network}"


def _seen(what: str) -> str:
    return f"<p>Left of the line: plain enlargement. Right: restored. Seen here: {escape(what)}.</p>"


def _newest(path: str | None, asked: float, photo: str | None, since: float) -> tuple[str | None, float]:
    """The photo that was chosen last, or none, and when, in milliseconds."""
    return (path, asked) if asked >= since else (photo, since)


def _example(path: str, asked: float, photo: str | None, since: float) -> tuple:
    """An example instead of an upload, which goes from its place."""
    return *_newest(path, asked, photo, since), None if asked >= since else gr.skip()


def _rest() -> None:
    """Waits until a slider that is being moved may have stopped; what it passed is not :class:`Latest` then."""
    time.sleep(0.4)


def _connect(inputs: _Inputs, outputs: _Outputs, do: _Handlers) -> None:
    """Which event does what. None of them is offered as an API."""
    # What is asked for while one waits is not dropped.
    private: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last", "show_progress": "hidden"}
    # One at a time, so that the last one is the last to be seen.
    begins: dict[str, Any] = {
        "inputs": inputs.settings, "outputs": [*outputs.list_of_all, inputs.number], "concurrency_id": "begin", **private,
    }  # fmt: skip
    shows: dict[str, Any] = {"inputs": [*inputs.settings, inputs.number], "outputs": outputs.list_of_all, **private}

    def from_gallery(pairs: list, event: gr.SelectData):
        return do.look(pairs, event.index)

    def restore_after(event: Any) -> None:
        event.then(do.show, **shows)

    # A photo's request may overtake the one that takes the photo before it away: the browser's clock tells their order.
    asked: dict[str, Any] = {**private, "trigger_mode": "multiple", "concurrency_id": "photo"}
    now = [inputs.clock, inputs.photo, inputs.since]
    chosen = gr.on(
        [inputs.file.upload, inputs.file.clear], _newest, [inputs.file, *now], [inputs.photo, inputs.since],
        js="(file, _, ...rest) => [file, Date.now(), ...rest]", **asked,
    )  # fmt: skip
    restore_after(chosen.then(do.begin, **begins))
    for button, path in inputs.examples:
        chosen = button.click(
            partial(_example, path), now, [inputs.photo, inputs.since, inputs.file],
            js="(_, ...rest) => [Date.now(), ...rest]", **asked,
        )  # fmt: skip
        restore_after(chosen.then(do.begin, **begins))
    restore_after(gr.on([inputs.network.input, inputs.scale.input], do.begin, **begins))
    # Every step of the slider counts, by mouse, key or number, and clears the results; work begins when it rests.
    restore_after(inputs.strength.input(do.begin, **begins).then(_rest, **private))
    look: dict[str, Any] = {"outputs": outputs.view, **private}
    outputs.faces.select(from_gallery, outputs.pairs, **look)
    outputs.whole.click(lambda pairs: do.look(pairs, None), outputs.pairs, **look)
