"""Nothing leaves the machine: what the page may load, and which addresses it answers to."""

from __future__ import annotations

import re

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
    """ASGI layer around the page: refuses foreign names, adds the policy's headers, and takes foreign addresses out of pages."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            if scope["type"] == "lifespan" or _is_own(scope):
                await self.app(scope, receive, send)
            return
        if not _is_own(scope):
            await send({"type": "http.response.start", "status": 421, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"This page answers to 127.0.0.1 and localhost only.\n"})
            return
        await self.app(scope, receive, _Sender(send))


class _Sender:
    """Passes an answer on; pages of HTML are held back until they are complete."""

    def __init__(self, send):
        self.send, self.start, self.body = send, None, b""

    async def __call__(self, message):
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in _HEADERS]
            message = {**message, "headers": [*headers, *_HEADERS.items()]}
            if any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in headers):
                self.start = message
                return
        elif self.start is not None:
            self.body += message.get("body", b"")
            if message.get("more_body"):
                return
            message = {**message, "body": await self._finish()}
        await self.send(message)

    async def _finish(self) -> bytes:
        headers = [(name, value) for name, value in self.start["headers"] if name.lower() != b"content-length"]
        if not any(name.lower() == b"content-encoding" for name, _ in headers):
            self.body = without_foreign(self.body.decode("utf-8")).encode()
        headers.append((b"content-length", str(len(self.body)).encode()))
        await self.send({**self.start, "headers": headers})
        return self.body


def _is_own(scope) -> bool:
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    return host.rpartition(":")[0] in HOSTS if ":" in host else host in HOSTS
