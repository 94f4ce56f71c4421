"""Settings of the whole process that hold while any thread needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock


class Held:
    """A context of settings that are the process's, not a thread's: the first thread enters it, the last one leaves it.

    Each by itself, a second thread would take the first one's settings for those that were there before, and keep them.

    Args:
        settings: makes the context.
    """

    def __init__(self, settings: Callable[[], AbstractContextManager]):
        self._settings, self._lock, self._inside = settings, Lock(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """The settings, for as long as the caller stays in here, and any other."""
        with self._lock:
            if not self._inside:
                self._open = self._settings()
                self._open.__enter__()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._open.__exit__(None, None, None)
