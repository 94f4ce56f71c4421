"""Serves the page on 127.0.0.1: port, folder for files, start and end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wnet_arch.demo.choices import Choices
from wnet_arch.demo.examples import write_examples
from wnet_arch.demo.gate import Gate
from wnet_arch.demo.limits import Limits
from wnet_arch.demo.privacy import OwnMachineOnly
from wnet_arch.demo.store import Store
from wnet_arch.demo.visitors import Visitors
from wnet_arch.errors import UsageError, WNetError, install_extra

HOST = "127.0.0.1"
LEAST_PYTHON = (3, 10)
#: With 6.0 the parts of the page that appear after an upload stay empty.
LEAST_GRADIO = (6, 31)
#: Gradio reads these when it is imported: it counts nobody, asks for no newer version, keeps no list of runs.
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_MCP_SERVER": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True)
class DemoOptions:
    """Options of ``wnet demo``, under the names of its arguments. ``weights``: each entry is one choice on the page."""

    port: int = 7860
    network: str | None = None
    weights: Sequence[Sequence[str]] = ()
    device: str = "cpu"
    offline: str | None = None
    open: bool = True
    limits: Limits = field(default_factory=Limits)


def serve(options: DemoOptions, tell: Callable[[str], None] = print) -> None:
    """Serves the page until Ctrl-C or SIGTERM, and deletes what was uploaded.

    Raises:
        UsageError: Gradio is missing, the port is taken, an option is wrong.
        WeightsError: weights are missing or do not fit.
    """
    check_installed()
    with contextlib.closing(listen(options.port)) as door, folder() as place:
        choices = Choices(options.network, options.weights, options.device, options.offline)
        server = make_server(choices, options.limits, place, door, lambda url: _greet(url, options.open, tell))
        with _ending(server), contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[door])


def check_installed() -> None:
    """Raises :class:`UsageError` where Gradio is missing, too old, or cannot be."""
    if sys.version_info < LEAST_PYTHON:
        raise UsageError(f"wnet demo needs Python {'.'.join(map(str, LEAST_PYTHON))} or newer, since Gradio does")
    os.environ.update(QUIET)
    try:
        import gradio
        import uvicorn  # noqa: F401 - Gradio brings it
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is missing: {install_extra('demo')}") from error
    if tuple(int(part) for part in gradio.__version__.split(".")[:2]) < LEAST_GRADIO:
        raise UsageError(f"gradio {gradio.__version__} is too old: {install_extra('demo')}")


def listen(port: int) -> socket.socket:
    """A socket on this machine's own address; port 0 is any free one.

    Raises:
        UsageError: the port is taken, or not to be had.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port: 0 to 65535, not {port}")
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((HOST, port))
        door.listen(128)
    except OSError as error:
        door.close()
        raise UsageError(f"--port: {HOST}:{port} cannot be used ({error.strerror}); --port 0 takes any free one") from error
    return door


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Gradio's folder for uploads and results, only for this user, deleted at the end."""
    try:
        name = os.path.realpath(tempfile.mkdtemp(prefix="wnet-demo-"))  # as files in it are called when links are followed
    except OSError as error:
        raise WNetError(f"cannot make a folder for uploads below {tempfile.gettempdir()}: {error.strerror}") from error
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = name
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        os.environ.pop("GRADIO_TEMP_DIR")
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


def make_server(choices: Choices, limits: Limits, place: Path, door: socket.socket, ready: Callable[[str], None]):
    """The page in a ``uvicorn.Server`` that calls ``ready`` with the page's address as soon as it answers."""
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    from wnet_arch.demo import page

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            if self.started:
                ready(f"http://{HOST}:{door.getsockname()[1]}")

    examples, missing = write_examples(place / "examples")
    store, visitors = Store(place, limits, [path for path, _ in examples]), Visitors()
    no_docs: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    app = gr.mount_gradio_app(
        FastAPI(**no_docs),
        page.build_page(choices, limits, store, visitors, examples, missing),
        path="/",
        server_name=HOST,
        server_port=door.getsockname()[1],
        app_kwargs=no_docs,
        footer_links=[],
        max_file_size=limits.max_bytes,
        ssr_mode=False,
        mcp_server=False,
        theme=page.theme(),
        css=page.STYLE.read_text(encoding="utf-8"),
    )
    quiet: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False, "proxy_headers": False}
    guarded = OwnMachineOnly(Gate(app, store, visitors, limits))
    return Server(uvicorn.Config(guarded, timeout_graceful_shutdown=1, **quiet))


@contextlib.contextmanager
def _ending(server) -> Iterator[None]:
    """A closed terminal and a polite kill end the page as Ctrl-C does, so that what was uploaded is deleted."""

    def end(*_):
        server.should_exit = True

    names = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(name, end) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _greet(url: str, wanted: bool, tell: Callable[[str], None]) -> None:
    tell(f"{url}   Ctrl-C ends it, and deletes what was uploaded")
    if wanted and _has_screen():
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _has_screen() -> bool:
    """Whether a browser could show something; on a machine without one, a text browser would take over the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
