"""Option files: reading, overriding, and checking everything that can be checked before a run creates anything.

An error names the key as ``datasets.train.dataroot``, says what is wrong and what to do. Every key is described in
:mod:`wnet_arch.options.blocks` and :mod:`wnet_arch.options.training`; ``options/README.md`` is made from there.
"""

from wnet_arch.options import packaged
from wnet_arch.options.checks import check, check_schema, list_everything, list_problems
from wnet_arch.options.files import framework_reads, load, load_as_framework, save
from wnet_arch.options.overrides import complete, override
from wnet_arch.options.packaged import resolve

__all__ = [
    "check", "check_schema", "complete", "framework_reads", "list_everything", "list_problems", "load", "load_as_framework",
    "override", "packaged", "resolve", "save",
]  # fmt: skip
