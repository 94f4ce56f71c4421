"""Who asks: each browser has a random name in a cookie that only this server can have made."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets


class Visitors:
    """Names are not kept: a cookie holds the name and its signature, under a key that lives as long as the server.

    Cookies know no ports: each server has a name of its own for its cookie, so that two do not overwrite each other's.
    """

    def __init__(self):
        self._key, self.cookie = secrets.token_bytes(32), f"wnet_demo_{secrets.token_hex(4)}"
        self._form = re.compile(rf"(?:^|;)\s*{self.cookie}=([0-9a-f]{{32}})\.([0-9a-f]{{64}})\s*(?:;|$)")

    def new(self) -> bytes:
        """The ``Set-Cookie`` of a new visitor. No script reads it, and no other site's request brings it along."""
        owner = secrets.token_hex(16)
        return f"{self.cookie}={owner}.{self._sign(owner)}; Path=/; HttpOnly; SameSite=Strict".encode()

    def owner(self, cookies: str | None) -> str | None:
        """The name in a ``Cookie`` header; ``None`` where there is none that this server has given."""
        found = self._form.search(cookies or "")
        return found[1] if found and hmac.compare_digest(found[2], self._sign(found[1])) else None

    def _sign(self, owner: str) -> str:
        return hmac.new(self._key, owner.encode(), hashlib.sha256).hexdigest()
