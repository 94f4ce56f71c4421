"""What of Gradio may be reached, and with which files: only what the page in the browser itself asks for.

Gradio's own check of paths is off where its page is mounted, and it fetches whatever address stands in the place of a path. So the
requests that carry paths are read and checked here, and only what was checked is handed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from urllib.parse import parse_qs, quote

from wnet_arch.demo.asgi import Gone, Refused, announced, answer, chunks, header
from wnet_arch.demo.limits import Limits
from wnet_arch.demo.store import KEPT, Store
from wnet_arch.demo.uploads import Uploads
from wnet_arch.demo.visitors import Visitors

API = "/gradio_api"
#: Parts of the page, the same for all: they take nothing but a name below Gradio's own folders.
_PLAIN = ("/", "/config", "/theme.css", "/manifest.json", "/favicon.ico", f"{API}/info", f"{API}/app_id", f"{API}/startup-events")
_FOLDERS = ("/assets/", "/static/", "/svelte/")
_FILE, _HEARTBEAT = f"{API}/file=", f"{API}/heartbeat/"
#: What the page sends as JSON; bytes that such a message may have.
_MESSAGES, _MESSAGE_SIZE = (f"{API}/queue/join", f"{API}/cancel", f"{API}/reset"), 262_144
#: A page that was opened by a link elsewhere is opened again: the browser holds the cookie back the first time.
_AGAIN = '<!doctype html><meta http-equiv="refresh" content="0; url=/"><a href="/">Open the page</a>'


class Gate:
    """ASGI layer around Gradio.

    Args:
        app: Gradio's page.
        store: the files that there are.
        visitors: whose they are.
        limits: of uploads.
    """

    def __init__(self, app: Callable, store: Store, visitors: Visitors, limits: Limits):
        self._app, self._store, self._visitors, self._uploads = app, store, visitors, Uploads(store, limits)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        try:
            owner = self._visitors.owner(header(scope, "cookie"))
            serve = {"GET": self._get, "HEAD": self._get, "POST": self._post}.get(scope["method"])
            if serve is None:
                raise Refused(405, "GET and POST only.")
            await serve(scope, receive, send, owner)
        except Refused as no:
            if scope["path"] in _MESSAGES:  # as Gradio would say it: its script shows this
                await answer(send, no.status, json.dumps({"detail": no.line}), "application/json")
            else:
                await answer(send, no.status, f"{no.line}\n")
        except Gone:
            return  # nobody is left to tell

    async def _live(self, scope, receive, send):
        sweeping = asyncio.create_task(self._sweep())
        try:
            await self._app(scope, receive, send)
        finally:
            sweeping.cancel()

    async def _sweep(self):
        while True:
            await asyncio.sleep(KEPT / 12)
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._store.sweep)

    async def _get(self, scope, receive, send, owner):
        path = scope["path"]
        if path == "/" and owner is None:
            if header(scope, "sec-fetch-site") == "cross-site":
                await answer(send, 200, _AGAIN, "text/html")
            else:
                await self._app(scope, receive, _with_cookie(send, self._visitors.new()))
        elif path in _PLAIN or path.startswith(_FOLDERS):
            await self._app(scope, receive, send)
        elif path.startswith(_FILE):
            await self._app(_renamed(scope, f"{_FILE}{self._found(owner, path[len(_FILE) :])}"), receive, send)
        elif path.startswith(_HEARTBEAT):
            session = self._claimed(owner, path[len(_HEARTBEAT) :])
            with self._store.open_page(session):
                await self._app(scope, receive, send)
        elif path == f"{API}/queue/data":
            self._claimed(owner, *parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[:1])
            await self._app(scope, receive, send)
        elif path == f"{API}/upload_progress":
            await self._uploads.tell(scope, send, _known(owner))
        else:
            raise Refused(404, "There is nothing here.")

    async def _post(self, scope, receive, send, owner):
        if scope["path"] == f"{API}/upload":
            await self._uploads.take(scope, receive, send, _known(owner))
        elif scope["path"] in _MESSAGES:
            body = await self._checked_message(scope, receive, _known(owner))
            await self._app(_resized(scope, len(body)), _Again(body, receive), send)
        else:
            raise Refused(404, "There is nothing here.")

    async def _checked_message(self, scope, receive, owner: str) -> bytes:
        """A message of the page, written anew from what was checked: no other reader can see something else in it."""
        if (header(scope, "content-type") or "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "A message is JSON.")
        announced(scope, _MESSAGE_SIZE)
        body = b"".join([chunk async for chunk in chunks(receive, _MESSAGE_SIZE)])
        try:
            message = json.loads(body)
            session = message.get("session_hash") if isinstance(message, dict) else None
            if session is not None:
                self._claimed(owner, session)
            return json.dumps(self._checked(message, owner, session)).encode()
        except (ValueError, RecursionError) as error:  # no JSON, or lists in lists in lists
            raise Refused(400, "A message is JSON.") from error

    def _checked(self, value, owner: str, session: str | None):
        """The same without addresses, and with paths as they were resolved."""
        if isinstance(value, list):
            return [self._checked(one, owner, session) for one in value]
        if not isinstance(value, dict):
            return value
        clean = {key: self._checked(one, owner, session) for key, one in value.items() if key != "url"}
        if "path" in clean:
            found = self._found(owner, clean["path"])
            if session is not None:
                self._store.chosen(session, found)
            clean["path"] = str(found)
        return clean

    def _found(self, owner: str | None, path: object):
        found = self._store.find(owner, path)
        if found is None:
            raise Refused(403, "Only photos that were uploaded here, examples and results can be opened.")
        return found

    def _claimed(self, owner: str | None, session: object) -> str:
        known = _known(owner)
        if not isinstance(session, str) or not self._store.claim(known, session):
            raise Refused(403, "This is another page's session.")
        return session


class _Again:
    """Gives a body that was read already, and then whatever else comes."""

    def __init__(self, body: bytes, receive: Callable):
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self):
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _known(owner: str | None) -> str:
    if owner is None:
        raise Refused(403, "Open the page again: this browser is not known, or the program was started again.")
    return owner


def _with_cookie(send: Callable, cookie: bytes) -> Callable:
    async def with_cookie(message):
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", cookie)]}
        await send(message)

    return with_cookie


def _renamed(scope: dict, path: str) -> dict:
    return {**scope, "path": path, "raw_path": quote(path, safe="/=:").encode()}


def _resized(scope: dict, size: int) -> dict:
    drop = (b"content-length", b"transfer-encoding")
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in drop]
    return {**scope, "headers": [*headers, (b"content-length", str(size).encode())]}
