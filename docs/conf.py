"""How Sphinx builds the site: scripts/docs.sh gathers the pages, and calls it."""

from wnet_arch.version import __version__

project = "W-Net for BasicSR"
author = "The wnet-fsr developers"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False

#: Anchors of headings, as the hosting site makes them.
myst_heading_anchors = 4
#: Indented blocks of the pages are commands.
highlight_language = "console"
#: `name` in a docstring.
default_role = "code"
smartquotes = False  # two hyphens begin an option
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_ivar = True
