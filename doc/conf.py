"""Sphinx: ``python -m sphinx -W -b html doc doc/_build/html`` from the repository."""

import os
import re

os.environ.setdefault("SCIPY_ARRAY_API", "1")

from sphinx_gallery.sorting import ExplicitOrder

from sklearn_gauss import __version__

project = "sklearn_gauss"
author = copyright = "The sklearn_gauss developers"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
default_role = "py:obj"
add_function_parentheses = False

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"resnet18_.*\.py",
    "within_subsection_order": ExplicitOrder(
        [
            "plot_first_steps.py",
            "plot_images.py",
            "plot_working_points.py",
            "plot_without_anomalies.py",
            "plot_anomaly_maps.py",
            "plot_explanations.py",
            "plot_kernel_density.py",
            "plot_bandwidth_regimes.py",
            "plot_kernel_thinning.py",
            "plot_low_variance.py",
            "plot_grid_search.py",
            "plot_trimming.py",
            "plot_class_conditional.py",
            "plot_residuals.py",
            "plot_score_norms.py",
            "plot_streaming.py",
            "plot_drifting_stream.py",
        ]
    ),
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,
    "reset_modules": ("matplotlib",),
    "doc_module": ("sklearn_gauss",),
    "backreferences_dir": "generated/backreferences",
    "inspect_global_variables": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_gauss"
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
    "secondary_sidebar_items": {
        page: ["page-toc"] for page in ("api", "generated/*", "install", "user_guide/*")
    },
}
html_sidebars = {"install": [], "whats_new": [], "api": []}
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
html_show_sourcelink = False


def escape(app, what, name, obj, options, lines):
    """Keep "shape (n_features_in_,)" and "log |Sigma|" from being read as links."""
    for i, line in enumerate(lines):
        if "``" not in line and ">>>" not in line:
            lines[i] = re.sub(r"(?<=\w)_(?=[,)])", r"\\_", line).replace("|", r"\|")


def setup(app):
    """Register the hook, which runs before numpydoc's."""
    app.connect("autodoc-process-docstring", escape, priority=400)
