"""What can go wrong at the door to Label Studio, sorted by what the caller can do about it.

    BackendError
    ├── BadRequest                 the caller sent something unusable: fix it (HTTP 400)
    │   └── LabelConfigError       the project's label config offers nothing to classify
    └── LabelStudioError           a call to Label Studio did not do what it should
        ├── Unreachable            nobody answered, or a server error: try again later
        ├── Unauthorized           the token is refused: replace it
        ├── NotFound               the object is gone: forget it
        └── Rejected               Label Studio refused the content: trying again will not help

Messages name the value, the allowed range and the next step; they never carry task text, tokens
or headers.
"""

from __future__ import annotations


class BackendError(Exception):
    """The root of every error that this package raises."""


class BadRequest(BackendError):
    """A request that cannot be served as it is."""

    def __init__(self, title: str, description: str, next_step: str) -> None:
        super().__init__(f"{title}: {description} {next_step}")
        self.title = title
        self.description = description
        self.next_step = next_step


class LabelConfigError(BadRequest):
    """A label config that this backend cannot work with."""


class LabelStudioError(BackendError):
    """The root of every failed call to Label Studio."""


class Unreachable(LabelStudioError):
    """Label Studio did not answer, or answered with a server error; retry later."""


class Unauthorized(LabelStudioError):
    """Label Studio refused our token."""


class NotFound(LabelStudioError):
    """The object does not exist, or this token may not see it."""


class Rejected(LabelStudioError):
    """Label Studio refused the request for its content."""

    def __init__(self, message: str, status: int, detail: str) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail
