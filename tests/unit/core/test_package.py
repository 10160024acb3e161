"""What a `pip install` without a checkout gets, and what every example and rule of the house says."""

import ast
import doctest
import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    for name in ("lnclip_df", "bench_configs", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        str(out),
        ".",
    ]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (path,) = out.glob("lnclip_df-*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_every_yaml_module_and_template(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = [*(ROOT / "lnclip_df").rglob("*.py"), *(ROOT / "lnclip_df").rglob("templates/*")]
    for path in [*(ROOT / "bench_configs").rglob("*.yaml"), *ours]:
        relative = path.relative_to(ROOT)
        inside = relative if relative.parts[0] == "lnclip_df" else Path("lnclip_df", relative)
        assert inside.as_posix() in names


@pytest.mark.slow
def test_configs_are_found_without_a_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import lnclip_df; print(lnclip_df.__file__); lnclip_df.load_config('ablation/5-slerp.yaml')"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert str(tmp_path / "site") in run.stdout


def modules_with_examples():
    """Every module of the package that holds a ``>>>``."""
    for path in sorted((ROOT / "lnclip_df").rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("module", list(modules_with_examples()))
def test_docstring_examples_run(module):
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted and not results.failed


def test_nothing_unpickles():
    """Every torch.load says weights_only=True; no other unpickler is called anywhere in the package."""
    for path in (ROOT / "lnclip_df").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in {"pickle.load", "pickle.loads", "joblib.load", "yaml.load", "yaml.unsafe_load"}, path
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", path
            if name == "np.load":
                assert keywords.get("allow_pickle", "False") == "False", path


def test_every_public_function_has_a_docstring():
    for path in [*(ROOT / "lnclip_df").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree) is not None, path
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and node.name != "main":
                assert ast.get_docstring(node), f"{path}: {node.name}"
