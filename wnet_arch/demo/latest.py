"""What each open page has asked for last: what it asked for before is not worked on any more, and never shown."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Hashable

#: Pages that are remembered. One that is forgotten must only ask again.
_PAGES = 1000


class Latest:
    """The last wish of each page, by its session. A browser may send one event twice: a wish is worked on once.

    Each wish has a number, which the page gives back when it has shown that work begins: whoever comes from an older wish would
    otherwise take the new one, and the page might show the result first, and then that work begins.
    """

    def __init__(self):
        self._wishes: OrderedDict[str | None, tuple[Hashable, int, bool]] = OrderedDict()
        self._numbers, self._lock = itertools.count(1), threading.Lock()

    def ask(self, session: str | None, wish: Hashable) -> int | None:
        """Notes what a page wants from now on, and returns its number; ``None`` if that is what it wanted before."""
        with self._lock:
            if self._wanted(session) == wish:
                return None
            number = next(self._numbers)
            self._set(session, wish, number, False)
            return number

    def take(self, session: str | None, wish: Hashable, number: int) -> bool:
        """Whether to work on a wish: it is the page's last one, and nobody has taken it."""
        with self._lock:
            if self._wishes.get(session) != (wish, number, False):
                return False
            self._set(session, wish, number, True)
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
        return self._wishes[session][0] if session in self._wishes else None

    def _set(self, session: str | None, wish: Hashable, number: int, taken: bool) -> None:
        self._wishes[session] = wish, number, taken
        self._wishes.move_to_end(session)
        while len(self._wishes) > _PAGES:
            self._wishes.popitem(last=False)
