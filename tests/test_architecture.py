"""The layout of the package: what imports what, what never occurs, how long files are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_gauss

PACKAGE = Path(sklearn_gauss.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 300  # of code: docstrings of public classes are long on purpose

HEAVY = ("torch", "torchvision", "timm", "PIL", "matplotlib", "pandas", "skops", "rich")
LIGHT_ROOMS = (
    "covariance",
    "decomposition",
    "detection",
    "exceptions",
    "feature_extraction",
    "inspection",
    "inspector",
    "metrics",
    "model_selection",
    "residual",
    "selection",
)

by_file = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix()
)


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def run(*command, cwd=None):
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    return done.returncode, done.stdout + done.stderr


def imports(tree):
    """(module, name or None) of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def dotted(node):
    """Text of a chain of attributes, such as ``torch.hub.load``."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


# ------------------------------------------------------------------ what is unsafe
UNPICKLERS = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal")


def unsafe(tree):
    """Ways to run code that a file brings along."""
    found = []
    for module, name in imports(tree):
        path = f"{module}.{name}" if name else module
        if module.split(".")[0] in UNPICKLERS or path.startswith("torch.hub"):
            found.append(path)
        if path in ("joblib.load", "torch.load"):
            found.append(f"{path} under another name")
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Call, ast.Attribute)):
            continue
        name = dotted(node.func if isinstance(node, ast.Call) else node)
        if name == "joblib.load" or name.startswith("torch.hub"):
            found.append(name)
        if isinstance(node, ast.Call) and name in ("eval", "exec"):
            found.append(name)
        if isinstance(node, ast.Call):
            given = {k.arg: k.value for k in node.keywords}
            asked = given.get("weights_only")
            literal = isinstance(asked, ast.Constant) and asked.value is True
            if (asked is not None or name == "torch.load") and not literal:
                found.append(f"{name} without a literal weights_only=True")
            allowed = given.get("allow_pickle")
            if allowed is not None and getattr(allowed, "value", True) is not False:
                found.append(f"{name} with allow_pickle")
    return found


@by_file
def test_nothing_runs_code_from_a_file(path):
    assert unsafe(parsed(path)) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import dill",
        "import joblib\njoblib.load(path)",
        "from joblib import load",
        "import torch\nmodel = torch.hub.load('a', 'b')",
        "from torch import hub",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=flag)",
        "import torch\ntorch.load(path, weights_only=False)",
        "from torch import load",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_what_would_run_code_is_seen(planted):
    assert unsafe(ast.parse(planted))


def test_what_is_safe_is_not_reported():
    safe = "import torch, joblib\ntorch.load(p, weights_only=True)\njoblib.Parallel()"
    assert unsafe(ast.parse(safe)) == []


# ----------------------------------------------------------- what imports what
def private_of_scikit_learn(tree):
    return [
        f"{module}: {name}"
        for module, name in imports(tree)
        if module.split(".")[0] == "sklearn"
        and any(part.startswith("_") for part in [*module.split("."), name or ""])
    ]


@by_file
def test_private_names_of_scikit_learn_stay_in_one_file(path):
    if path != PACKAGE / "_base.py":
        assert private_of_scikit_learn(parsed(path)) == []


def test_private_names_of_scikit_learn_are_seen():
    assert private_of_scikit_learn(parsed(PACKAGE / "_base.py"))
    assert private_of_scikit_learn(ast.parse("import sklearn.utils._array_api"))
    assert not private_of_scikit_learn(ast.parse("from sklearn.base import clone"))


def test_import_contracts_are_kept(root):
    command = "from importlinter.cli import lint_imports_command as c; c()"
    code, output = run(sys.executable, "-c", command, "--no-cache", cwd=root)
    assert code == 0, output
    assert "0 broken" in output


def modules_after(statement):
    command = f"import sys; {statement}; print(*sys.modules)"
    code, output = run(sys.executable, "-c", command)
    assert code == 0, output
    return set(output.split())


@pytest.fixture(scope="module")
def not_ours():
    """What scikit-learn loads on its own account: pandas, in some versions."""
    return modules_after("import sklearn.base, sklearn.model_selection, sklearn.pipeline")


def test_imports_are_light(not_ours):
    """Of the whole package at once: it imports every room itself."""
    loaded = modules_after("import sklearn_gauss")
    assert {f"sklearn_gauss.{room}" for room in LIGHT_ROOMS} <= loaded
    assert not set(HEAVY) & (loaded - not_ours)


def test_scikit_learn_loads_no_network(not_ours):
    assert not {"torch", "PIL", "matplotlib"} & not_ours


# --------------------------------------------------------------------- the rest
def test_ruff_finds_nothing(root):
    code, output = run(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=root)
    assert code == 0, output


def lines_of_code(text):
    """Lines of a file that are not part of a docstring."""
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [
        node.body[0]
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node)
    ]
    n_lines = sum(node.end_lineno - node.lineno + 1 for node in docstrings)
    return len(text.splitlines()) - n_lines


@by_file
def test_files_are_short(path):
    assert lines_of_code(path.read_text(encoding="utf-8")) <= MAX_LINES


def test_docstrings_are_not_counted():
    text = '"""One.\n\nTwo."""\n\n\ndef f():\n    """Three."""\n    return 1\n'
    assert lines_of_code(text) == 4


@by_file
def test_files_start_with_a_docstring(path):
    assert ast.get_docstring(parsed(path))
