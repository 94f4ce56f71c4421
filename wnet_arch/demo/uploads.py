"""Takes uploads: one photo a request, of bounded size, and nothing is left of one that is broken off."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from wnet_arch.demo.asgi import Refused, announced, answer, chunks, header
from wnet_arch.demo.limits import ENDINGS, Limits
from wnet_arch.demo.store import Full, Store
from wnet_arch.photo_formats import why_unknown

#: Bytes that a request may have besides its photo: the headers and boundaries of a form.
_AROUND = 16_384
#: Uploads whose progress is remembered, and seconds that the page's question for it may be ahead of the upload.
_KNOWN, _AHEAD = 64, 3


@dataclass
class _Progress:
    name: str = ""
    size: int = 0
    done: bool = False


class Uploads:
    """Answers to an upload, and to the page's question how far it is, in the form that Gradio's page expects."""

    def __init__(self, store: Store, limits: Limits):
        self._store, self._limits = store, limits
        self._known: OrderedDict[tuple[str, str], _Progress] = OrderedDict()

    async def take(self, scope: dict, receive: Callable, send: Callable, owner: str) -> None:
        """Stores the photo and answers with its path.

        Raises:
            Refused: the request is too large, no form with one file, or there is no room.
            Gone: the client has gone away.
        """
        most = self._limits.max_bytes + _AROUND
        progress = self._follow(owner, scope)
        try:
            with self._store.arrival(announced(scope, most)) as file:
                form = _OneFile(header(scope, "content-type"), file, self._limits.max_bytes, progress)
                async for chunk in chunks(receive, most):
                    form.write(chunk)
                form.check_complete()
                path = self._store.keep(owner, file, progress.name)
        except Full as error:
            raise Refused(413, f"There is {error}.") from error
        except OSError as error:
            raise Refused(507, f"The photo cannot be stored: {error.strerror}.") from error
        finally:
            progress.done = True
        await answer(send, 200, json.dumps([str(path)]), "application/json")

    async def tell(self, scope: dict, send: Callable, owner: str) -> None:
        """A stream of events: how many bytes have come since the one before, and that an upload has ended, well or not."""
        kind = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        told, until = 0, time.monotonic() + _AHEAD
        while True:
            progress = self._known.get((owner, _upload_id(scope)), _Progress(done=time.monotonic() > until))
            if progress.done:
                break
            if progress.size > told:
                event = {"msg": "update", "orig_name": progress.name, "chunk_size": progress.size - told}
                told = progress.size
                await send({"type": "http.response.body", "body": _event(event), "more_body": True})
            await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": _event({"msg": "done"})})

    def _follow(self, owner: str, scope: dict) -> _Progress:
        progress = self._known[owner, _upload_id(scope)] = _Progress()
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return progress


class _OneFile:
    """A form with one file and nothing else, which is written as it comes."""

    def __init__(self, kind: str | None, file: BinaryIO, most: int, progress: _Progress):
        from python_multipart.multipart import MultipartParser, parse_options_header

        form, options = parse_options_header(kind)
        if form != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refused(400, "An upload is a form with one file.")
        self._file, self._most, self._progress, self._options = file, most, progress, parse_options_header
        self._parts, self._ended, self._field, self._value, self._where = 0, False, b"", b"", b""
        names = ("part_begin", "part_data", "header_field", "header_value", "header_end", "headers_finished", "end")
        calls: Any = {f"on_{name}": getattr(self, f"_{name}") for name in names}
        try:
            self._parser = MultipartParser(options[b"boundary"], calls)
        except ValueError as error:  # python-multipart's own errors are of this kind
            raise Refused(400, "The form's boundary is no good.") from error

    def write(self, chunk: bytes) -> None:
        """Takes the next piece of the body."""
        try:
            self._parser.write(chunk)
        except ValueError as error:
            raise Refused(400, "The form cannot be read.") from error

    def check_complete(self) -> None:
        """Raises :class:`Refused` where something is missing at the end."""
        if not self._ended or not self._parts:
            raise Refused(400, "The form ends too early.")

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise Refused(400, "One photo at a time.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._where = self._value
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        options = self._options(self._where)[1]
        if b"filename" not in options:
            raise Refused(400, "An upload is a form with one file.")
        self._progress.name = options[b"filename"].decode("utf-8", errors="replace")
        if not self._progress.name.lower().endswith(ENDINGS):  # a page or a script would run as ours when it is looked at
            raise Refused(415, f"A photo's name ends in .jpg, .png, .webp or the like; this is {why_unknown(b'', self._suffix())}.")

    def _suffix(self) -> str:
        return os.path.splitext(self._progress.name)[1]

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._progress.size += end - start
        if self._progress.size > self._most:
            raise Refused(413, f"The photo is too large: {self._most / 1e6:.3g} MB at most.")
        self._file.write(data[start:end])

    def _end(self) -> None:
        self._ended = True


def _upload_id(scope: dict) -> str:
    return parse_qs(scope["query_string"].decode("latin-1")).get("upload_id", [""])[0][:64]


def _event(message: dict) -> bytes:
    return f"data: {json.dumps(message)}\n\n".encode()
