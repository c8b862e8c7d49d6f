"""The documentation site, for Sphinx: `make docs` builds it into site/, to be opened as a file.

Nothing is loaded from elsewhere: fonts are the reader's, formulas are Unicode or MathML, the search
runs in the page.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]

from ntkscope import __version__  # noqa: E402

project = "ntkscope"
author = "The ntkscope authors"
release = version = __version__
language = "en"
smartquotes = False  # two dashes are an option, and no dash

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "accessible",
    "api",
    "command_line",
    "docstrings",
    "explorer",
    "indices",
    "statement_list",
]
suppress_warnings = ["ref.python"]  # an axis T of a shape is no property T
exclude_patterns = ["_ext"]
templates_path = ["_templates"]

myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 4

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = "ntkscope"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {
        "font-stack": "system-ui, sans-serif",
        "color-brand-content": "#1a56b8",
    },
    "dark_css_variables": {"color-brand-content": "#8ab4f8", "color-brand-primary": "#8ab4f8"},
}
