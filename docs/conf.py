"""Sphinx settings: `make docs` builds the pages of this folder into docs/_build/html."""

import re
from importlib.metadata import version as version_of

from sphinx.application import Sphinx

project = "pyro_exact"
author = "The pyro_exact authors"
copyright = "the pyro_exact authors, Apache-2.0"
version = release = version_of("pyro_exact")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"pyro_exact {release}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# The API pages follow `__all__` of each package, and nothing else.
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
default_role = "py:obj"
# Attributes are a field list, so that a field of a named tuple is described once.
napoleon_use_ivar = True
napoleon_custom_sections = ["Cost", "Shape", "Reference"]


def escape_stars(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Let a docstring say (*batch, C, H, W), which is the start of an emphasis to Sphinx."""
    lines[:] = [re.sub(r"(\(|, )\*(?=[\w,])", r"\1\*", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Register the hook above."""
    app.connect("autodoc-process-docstring", escape_stars)
