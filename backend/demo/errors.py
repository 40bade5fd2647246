"""What can go wrong in the demo."""

from __future__ import annotations

from backend.errors import BackendError


class DemoError(BackendError):
    """The demo cannot do this; the message says what to do."""
