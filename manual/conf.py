"""Sphinx configuration of the manual. `manual/build.py` runs it."""

from typing import Any

project = "asu-stats"
html_title = "asu-stats manual"
language = "en"
extensions = ["myst_parser"]
exclude_patterns: list[str] = []
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a page may begin with a heading of any level
highlight_language = "none"
pygments_style = "a11y-high-contrast-light"

html_theme = "pydata_sphinx_theme"
html_favicon = "_static/icon.svg"
html_logo = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_use_index = False
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_context = {"default_mode": "auto"}
html_theme_options: dict[str, Any] = {
    "logo": {"text": "asu-stats"},
    "navbar_align": "left",
    "search_bar_text": "Search the manual",
    "navbar_center": [],
    "navbar_persistent": [],
    "navbar_end": ["search-button", "theme-switcher"],
    "footer_start": ["own-links"],
    "footer_end": [],
    "primary_sidebar_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_nav_level": 1,
    "show_prev_next": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "back_to_top_button": False,
}
html_sidebars = {"**": ["whole-manual"]}
templates_path = ["_templates"]
