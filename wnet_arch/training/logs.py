"""BasicSR's logger for modules that its own import needs: a module that imports BasicSR first, and that BasicSR's import then asks
for, would be asked for before it is there (see :mod:`wnet_arch.registration`).
"""

from __future__ import annotations

import logging


def get_root_logger() -> logging.Logger:
    """The logger of ``basicsr.utils.get_root_logger``."""
    from basicsr.utils import get_root_logger as of_framework

    return of_framework()
