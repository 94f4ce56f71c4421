"""Nothing leaves the machine: what the page may load, which addresses it answers to, and to requests of which pages."""

from __future__ import annotations

import re

from wnet_arch.demo.asgi import Refused, answer, header

#: The browser loads nothing from elsewhere, whatever Gradio's page asks for.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
#: Names under which the page is asked for. Any other means that a foreign page has pointed its own name here.
HOSTS = ("127.0.0.1", "localhost")
_FOREIGN = re.compile(
    r"<link\b[^>]*\bhref\s*=\s*[\"']?(?:https?:)?//[^>]*>|<script\b[^>]*\bsrc\s*=\s*[\"']?(?:https?:)?//[^>]*>\s*</script>", re.I
)
_HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


def without_foreign(html: str) -> str:
    """A page without scripts, fonts and early connections of other hosts: older versions of Gradio have some."""
    return _FOREIGN.sub("", html)


class OwnMachineOnly:
    """ASGI layer around the page: refuses foreign names and requests of foreign pages, and cleans what is answered.

    It adds the policy's headers, takes foreign addresses out of pages, and lets no other origin read anything.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":  # the page has none
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            try:
                check_own(scope)
            except Refused as no:
                await answer(send, no.status, f"{no.line}\n")
            else:
                await self.app(scope, receive, _Sender(send))


def check_own(scope: dict) -> None:
    """Checks that a request was sent to this machine's own name, and by no other page than ours.

    A page is ours if its origin is the address that was asked, port included: so it still is behind a port that ssh forwards.
    Programs that are no browsers send no origin. Following a link to the page, wherever it stands, is harmless.

    Raises:
        Refused: it was not.
    """
    host = (header(scope, "host") or "").lower()
    if (host.rpartition(":")[0] if ":" in host else host) not in HOSTS:
        raise Refused(421, "This page answers to 127.0.0.1 and localhost only.")
    origin, site = header(scope, "origin"), header(scope, "sec-fetch-site")
    if origin is not None and origin.lower() != f"http://{host}":
        raise Refused(403, "Other pages may not ask for anything here.")
    if site not in (None, "same-origin", "none") and not _is_link(scope):
        raise Refused(403, "Other pages may not ask for anything here.")


def _is_link(scope: dict) -> bool:
    is_read = scope["method"] in ("GET", "HEAD") and scope["path"] == "/" and not scope["query_string"]
    return is_read and header(scope, "sec-fetch-mode") == "navigate" and header(scope, "sec-fetch-dest") == "document"


class _Sender:
    """Passes an answer on; pages of HTML are held back until they are complete."""

    def __init__(self, send):
        self.send, self.body = send, b""
        self.start: dict | None = None

    async def __call__(self, message):
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message.get("headers", ()) if not _is_replaced(name.lower())]
            message = {**message, "headers": [*headers, *_HEADERS.items()]}
            if any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in headers):
                self.start = message
                return
        elif self.start is not None:
            self.body += message.get("body", b"")
            if message.get("more_body"):
                return
            message = {**message, "body": await self._finish(self.start)}
        await self.send(message)

    async def _finish(self, start: dict) -> bytes:
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        if not any(name.lower() == b"content-encoding" for name, _ in headers):
            self.body = without_foreign(self.body.decode("utf-8")).encode()
        headers.append((b"content-length", str(len(self.body)).encode()))
        await self.send({**start, "headers": headers})
        return self.body


def _is_replaced(name: bytes) -> bool:
    """Whether a header of an answer is ours to say: the policy's, and those by which other origins are let in."""
    return name in _HEADERS or name.startswith(b"access-control-")
