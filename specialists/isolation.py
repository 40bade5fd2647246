"""What keeps a process away from this machine: bubblewrap, or Landlock where that cannot run.

Both see the Python that runs us, its packages, shared libraries and one model's files, read-only,
and no network. bubblewrap's namespaces hide everything else, other processes too, and give a
scratch folder in memory; with Landlock there is no place to write at all. On top of either comes
`lockdown.filter_calls`. It only says how to start; it starts nothing but its own trial.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from specialists import lockdown
from specialists.errors import NoIsolation

BUBBLEWRAP, LANDLOCK = "bubblewrap", "landlock"
SCRATCH_BYTES = 64 * 1024 * 1024
_TRIAL_S = 20.0
_ROOT = Path(__file__).parents[1]
_OURS = ("__init__.py", "lockdown.py", "sandbox_worker.py")
_SHARED_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
_FACTS = ("/dev/null", "/dev/urandom", "/proc/cpuinfo", "/sys/devices/system/cpu")
# Data of a model; no code and no pickle.
_MODEL_FILES = frozenset({".json", ".txt", ".model", ".codes", ".jinja", ".safetensors"})

ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp",  # torch wants a folder that is there, and writes nothing
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    # The filter allows no thread.
    "HF_DEACTIVATE_ASYNC_LOAD": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}
"""All that the process gets to know of an environment."""


@dataclass(frozen=True)
class Isolation:
    """A kind of isolation that works here."""

    name: str

    def command(self, model_dir: Path, python: Sequence[str] = ()) -> list[str]:
        """How to start Python inside; without arguments it runs the worker."""
        inside = [_interpreter(), "-I", "-S", "-B", *(python or ("-c", _boot()))]
        return [*_bubblewrap(model_dir), *inside] if self.name == BUBBLEWRAP else inside


@cache
def find(names: Sequence[str] = (BUBBLEWRAP, LANDLOCK)) -> Isolation:
    """The first kind that works here; tried once a process.

    Raises NoIsolation, which says what to install.
    """
    reasons = []
    for name in names:
        why = _lack(name)
        if not why:
            return Isolation(name)
        reasons.append(f"{name}: {why}")
    raise NoIsolation("; ".join(reasons))


def readable(model_dir: Path) -> list[str]:
    """Every file and folder that the process may read."""
    return [*_python_files(), *_SHARED_LIBRARIES, *_FACTS, *map(str, _files(model_dir).values())]


def _lack(name: str) -> str:
    """Why a kind of isolation does not work here, empty when it does."""
    if sys.platform != "linux" or not lockdown.supported():
        return "it needs Linux with seccomp on x86_64 or aarch64"
    if name == LANDLOCK:
        return "" if lockdown.landlock_version() else "this kernel has none (Linux 5.13 or newer)"
    if shutil.which("bwrap") is None:
        return "it is not installed"
    trial = Isolation(name).command(Path("/nonexistent"), ("-c", "pass"))
    try:
        done = subprocess.run(
            trial, env=ENVIRONMENT, capture_output=True, text=True, timeout=_TRIAL_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it fails"])[-1]


def _bubblewrap(model_dir: Path) -> list[str]:
    """Namespaces of its own for everything, nobody's user id, and the files that are needed."""
    binds = [(path, path) for path in (*_python_files(), *_SHARED_LIBRARIES)]
    binds += [(str(real), shown) for shown, real in _files(model_dir).items()]
    command = ["bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"]
    command += ["--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--cap-drop", "ALL"]
    command += ["--size", str(SCRATCH_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp"]
    for source, target in binds:
        command += ["--ro-bind-try", source, target]
    for path in _FACTS:
        command += ["--dev-bind-try" if path.startswith("/dev") else "--ro-bind-try", path, path]
    return [*command, "--remount-ro", "/", "--"]


def _files(model_dir: Path) -> dict[str, Path]:
    """A model's files, by the paths under which they are opened.

    The Hub's cache holds links into its own folder; links that lead elsewhere are left out.
    """
    real = model_dir.resolve()
    homes = [real, real.parents[1] / "blobs"] if real.parent.name == "snapshots" else [real]
    found = {
        str(path): path.resolve()
        for path in sorted(model_dir.rglob("*"))
        if path.is_file() and path.suffix in _MODEL_FILES
    }
    return {
        shown: path
        for shown, path in found.items()
        if any(path.is_relative_to(home) for home in homes)
    }


def _interpreter() -> str:
    return os.path.realpath(sys.executable)


def _packages() -> list[str]:
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(os.path.realpath(paths[one]) for one in ("purelib", "platlib")))


def _python_files() -> list[str]:
    standard = os.path.realpath(sysconfig.get_path("stdlib"))
    shared = [str(path) for path in Path(sys.base_prefix, "lib").glob("libpython*.so*")]
    ours = [str(Path(__file__).with_name(name)) for name in _OURS]
    return [_interpreter(), standard, *_packages(), *shared, *ours]


def _boot() -> str:
    """Where to find packages: without `site` no file of theirs runs when Python starts."""
    return (
        f"import sys; sys.path += {[*_packages(), str(_ROOT)]!r}; "
        "from specialists.sandbox_worker import main; main()"
    )
