"""Reading requests and writing answers, for the page's own ASGI layers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

#: Seconds without a byte after which a request is given up.
PATIENCE = 60


class Refused(Exception):
    """A request that is not served. ``line`` says why, in one sentence."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status, self.line = status, line


class Gone(Exception):
    """The client has gone away before its request was complete."""


def header(scope: dict, name: str) -> str | None:
    """A header of the request; ``None`` if it is missing.

    Raises:
        Refused: it is there twice, so that two readers may see two values.
    """
    found = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name.encode()]
    if len(found) > 1:
        raise Refused(400, f"{name} is given {len(found)} times.")
    return found[0] if found else None


def announced(scope: dict, most: int) -> int:
    """How many bytes the body has by its own account, or ``most`` where it does not say.

    Raises:
        Refused: more than ``most``.
    """
    length = (header(scope, "transfer-encoding") is None and header(scope, "content-length")) or ""
    if length.isdecimal() and int(length) > most:
        raise Refused(413, _too_large(most))
    return int(length) if length.isdecimal() else most


async def chunks(receive: Callable, most: int) -> AsyncIterator[bytes]:
    """The body, piece by piece, whatever its headers announce.

    Raises:
        Refused: it is larger than ``most`` bytes, or has stopped to come.
        Gone: the client has gone away.
    """
    got, more = 0, True
    while more:
        try:
            message = await asyncio.wait_for(receive(), PATIENCE)
        except asyncio.TimeoutError as error:
            raise Refused(408, f"Nothing has come for {PATIENCE} seconds.") from error
        if message["type"] != "http.request":
            raise Gone
        got += len(message.get("body", b""))
        if got > most:
            raise Refused(413, _too_large(most))
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def answer(send: Callable, status: int, text: str, kind: str = "text/plain") -> None:
    """Sends a complete answer."""
    body = text.encode()
    headers = [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _too_large(most: int) -> str:
    return f"The request is too large: {most / 1e6:.3g} MB at most."
