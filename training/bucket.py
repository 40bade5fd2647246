"""Objects under one URL such as `s3://bucket/prefix`, through fsspec; one object is written whole.

Credentials and endpoints are those that the scheme's own library reads: for s3 botocore's
variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, ...). It does not know what
is stored, and its errors tell no keys.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from training.errors import BucketUnusable

_OUR_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# What the schemes' libraries call the time of an object's last write.
_MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "created")


@dataclass(frozen=True)
class Stored:
    """One object: its size, and seconds since it was written by the clock of its server."""

    size_bytes: int
    age_s: float


class Bucket:
    """Objects by their names under a URL; every method raises BucketUnusable.

    A missing object is no error of that kind: see each method. `options` are fsspec's.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._url = url.rstrip("/")
        self._options = options

    def url(self, name: str) -> str:
        """The whole address of an object."""
        return f"{self._url}/{name}"

    def read(self, name: str) -> bytes | None:
        """The content of an object, None when it is missing."""
        try:
            with self._reaching() as (fs, root):
                return bytes(fs.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Store an object, over an earlier one; others see the old or the new one whole."""
        with self._reaching(found=False) as (fs, root):
            fs.pipe_file(f"{root}/{name}", content)

    def upload(self, path: Path, name: str) -> None:
        """Store a file as `write` does, in parts if it is large."""
        with self._reaching(found=False) as (fs, root):
            fs.put_file(str(path), f"{root}/{name}")

    def download(self, name: str, path: Path) -> bool:
        """Copy an object into a file, made with its folders; False when it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._reaching() as (fs, root):
                fs.get_file(f"{root}/{name}", str(path))
        except FileNotFoundError:
            return False
        return True

    def objects(self, folder: str) -> dict[str, Stored]:
        """All objects below a folder, by their names relative to it."""
        try:
            with self._reaching() as (fs, root):
                path = f"{root}/{folder}"
                found: dict[str, Any] = fs.find(path, detail=True)
                start = len(fs._strip_protocol(path)) + 1
        except FileNotFoundError:
            return {}
        return {name[start:]: Stored(info["size"], _age(info)) for name, info in found.items()}

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects one after the other; those that are missing are left out."""
        with self._reaching() as (fs, root):
            for name in names:
                with suppress(FileNotFoundError):
                    fs.rm_file(f"{root}/{name}")

    @contextmanager
    def _reaching(self, found: bool = True) -> Iterator[tuple[Any, str]]:
        """The file system and the path of our root; foreign errors become BucketUnusable.

        `found` is False where only a missing bucket can be the reason that something is missing.
        """
        try:
            yield self._open()
        except FileNotFoundError as error:
            if found and not _is_no_bucket(error):
                raise
            raise self._unusable("the bucket does not exist", "create it") from error
        except BucketUnusable:
            raise
        except PermissionError as error:
            raise self._unusable(
                "access is refused", "check its credentials and that they may list, read and write"
            ) from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OUR_DISK:
                raise
            step = "check the endpoint, the credentials and the network; the work is tried again"
            raise self._unusable(f"it cannot be used ({_kind(error)})", step) from error

    def _open(self) -> tuple[Any, str]:
        """The file system, shared by fsspec and made anew after a fork, and our root in it."""
        import fsspec

        try:
            fs, root = fsspec.core.url_to_fs(self._url, use_listings_cache=False, **self._options)
        except (ImportError, ValueError) as error:
            step = "for s3:// pip install -r requirements-s3.txt"
            raise self._unusable("no library here reads such an address", step) from error
        return fs, root

    def _unusable(self, what: str, step: str) -> BucketUnusable:
        return BucketUnusable(f"{self._url}: {what}. Next step: {step}.")


def _is_no_bucket(error: BaseException) -> bool:
    """Whether a whole S3 bucket is missing, not one object in it."""
    return _code(error) == "NoSuchBucket"


def _kind(error: BaseException) -> str:
    """What happened in one word: messages of libraries may hold what is not for logs."""
    return _code(error) or type(error).__name__


def _code(error: BaseException) -> str:
    """What S3 answered, empty when it did not."""
    answer: dict[str, Any] = getattr(error.__cause__, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def _age(info: dict[str, Any]) -> float:
    """Seconds since an object was written; 0 where its server does not tell."""
    at = next((info[name] for name in _MODIFIED if info.get(name)), None)
    if isinstance(at, datetime):
        at = at.timestamp()
    return time.time() - float(at) if isinstance(at, int | float) else 0.0
