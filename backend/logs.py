"""Logging for the doors: one line a record on stderr; libraries that log bodies are kept quiet."""

from __future__ import annotations

import logging
import os

# At INFO and below these write request lines, bodies or headers.
_QUIET = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "anthropic",
    "openai",
    "urllib3",
    "filelock",
    "label_studio_sdk",
    "transformers",
    "huggingface_hub",
    "rq.worker",
)


def configure(level: str) -> None:
    """Set up the root logger once; later calls only change the level."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger().setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
