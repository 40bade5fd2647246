"""gunicorn's own lines, written as all others of the web process.

Named on its command line (programs.py), because its main process writes before it loads an app.
"""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.glogging import Logger

from backend.environment import read_environment
from backend.logs import configure
from backend.settings import Settings


class ServerLog(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """Hands gunicorn's records to the root logger."""

    def setup(self, cfg: Any) -> None:
        """Set up logging in gunicorn's main process; its workers inherit it."""
        super().setup(cfg)
        settings = Settings.from_env(read_environment())
        configure(settings.log_level, settings.log_format)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True
        # Its DEBUG lists its whole configuration, and says little else.
        level = logging.getLevelName(settings.log_level)
        self.error_log.setLevel(max(logging.INFO, level))
