"""What each open page has asked for last: what it asked for before is not worked on any more, and never shown."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

#: Pages that are remembered. One that is forgotten must only ask again.
_PAGES = 1000


class Latest:
    """The last wish of each page, by its session. A browser may send one event twice: a wish is worked on once."""

    def __init__(self):
        self._wishes: OrderedDict[str | None, tuple[Hashable, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, session: str | None, wish: Hashable) -> bool:
        """Notes what a page wants from now on; whether that is something else than before."""
        with self._lock:
            if self._wanted(session) == wish:
                return False
            self._set(session, wish, False)
            return True

    def take(self, session: str | None, wish: Hashable) -> bool:
        """Whether to work on a wish: it is the page's last one, and nobody has taken it."""
        with self._lock:
            wanted, taken = self._wishes.get(session, (None, True))
            if taken or wanted != wish:
                return False
            self._set(session, wish, True)
            return True

    def is_last(self, session: str | None, wish: Hashable) -> bool:
        """Whether this is what the page wants still."""
        with self._lock:
            return self._wanted(session) == wish

    def forget(self, session: str | None) -> None:
        """After a failure: the same may be asked for again."""
        with self._lock:
            self._wishes.pop(session, None)

    def _wanted(self, session: str | None) -> Hashable:
        return self._wishes.get(session, (None, False))[0]

    def _set(self, session: str | None, wish: Hashable, taken: bool) -> None:
        self._wishes[session] = wish, taken
        self._wishes.move_to_end(session)
        while len(self._wishes) > _PAGES:
            self._wishes.popitem(last=False)
