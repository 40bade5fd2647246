"""The rules of the layout: who imports whom, how large a module is, what an import must not do."""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import __version__

ROOT = Path(__file__).parents[2]
OURS = ("_wsgi", "backend", "meta_controller", "training", "specialists")
ALLOWED = {
    "_wsgi": ("backend",),
    "backend": ("backend", "meta_controller", "training", "specialists"),
    "training": ("training", "specialists"),
    "meta_controller": ("meta_controller", "specialists.types", "specialists.sandbox"),
    "specialists": ("specialists",),
}
MODULES = [
    ROOT / "_wsgi.py",
    *(path for package in OURS[1:] for path in sorted((ROOT / package).rglob("*.py"))),
]
LINES_MAX = 400


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a module imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0].removesuffix(".py")
    ours = [name for name in imports(path) if any(under(name, one) for one in OURS)]
    upwards = [n for n in ours if not any(under(n, one) for one in ALLOWED[package])]
    assert upwards == []
    assert [name for name in imports(path) if name.startswith(".") or under(name, "flask")] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LINES_MAX
    assert ast.get_docstring(ast.parse(text))


def test_the_rule_sees_imports_in_functions_and_relative_ones(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def f():\n    import flask.app\n    from . import x\n    from a import b\n")
    assert list(imports(module)) == ["flask.app", ".None.x", "a.b"]


def modules_after(code: str, data_dir: Path) -> set[str]:
    """The modules that a fresh interpreter holds after `code`."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('MODULES', *sys.modules)"],
        cwd=ROOT,
        env={**kept, "DATA_DIR": str(data_dir), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.partition("MODULES")[2].split())


def test_the_web_process_loads_no_trainer_no_llm_sdk_and_no_flask(tmp_path: Path) -> None:
    loaded = modules_after("import _wsgi; assert callable(_wsgi.app)", tmp_path)
    assert "backend.web.app" in loaded
    forbidden = {
        *("flask", "anthropic", "openai", "peft"),
        *("training.fine_tune", "training.stage"),
    }
    assert loaded & forbidden == set()


def test_commands_and_workers_start_without_what_only_some_need(tmp_path: Path) -> None:
    loaded = modules_after("import backend.__main__, backend.worker", tmp_path)
    assert "backend.wiring" in loaded
    heavy = {
        *("torch", "transformers", "openvino", "onnxruntime"),
        *("anthropic", "openai", "label_studio_ml"),
    }
    assert loaded & heavy == set(), "import it where it is used, or under TYPE_CHECKING"


def test_the_runtime_of_onnx_prepares_no_reports_to_its_maker(tmp_path: Path) -> None:
    """Not told to keep quiet, it writes a device's id and a queue of reports when imported."""
    # Without the variables of a CI, where it keeps quiet anyway.
    told = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    code = "import specialists.runtime_onnx"
    subprocess.run([sys.executable, "-c", code], env=told, check=True, timeout=120)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_meta_controller_never_loads_torch(tmp_path: Path) -> None:
    every = "import importlib, pkgutil, threading, meta_controller as m\n" + (
        "for one in pkgutil.walk_packages(m.__path__, 'meta_controller.'):\n"
        "    importlib.import_module(one.name)\n"
        "assert threading.active_count() == 1, threading.enumerate()"
    )
    loaded = modules_after(every, tmp_path)
    assert {"meta_controller.reviewer", "meta_controller.anthropic_model", "anthropic"} <= loaded
    assert loaded & {"torch", "transformers"} == set()


def test_no_two_test_modules_have_one_name() -> None:
    """Run together, as `make test` does, pytest would refuse the second of them."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_the_version_is_the_newest_in_the_changelog() -> None:
    found = re.search(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert found is not None
    assert found[1] == __version__


def test_a_unit_test_reaches_no_network() -> None:
    with socket.socket() as one, pytest.raises(RuntimeError, match="must not reach the network"):
        one.connect(("127.0.0.1", 9))
    with pytest.raises(RuntimeError, match="must not reach the network"):
        socket.getaddrinfo("localhost", 80)


def test_a_test_is_marked_with_its_folder(request: pytest.FixtureRequest) -> None:
    assert [mark.name for mark in request.node.iter_markers()] == ["unit"]
