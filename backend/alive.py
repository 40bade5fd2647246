"""A worker's health check: `python -m backend.alive` ends with 0 while one lives on this host."""

from __future__ import annotations

import os
import socket
import sys

from backend import embedded_redis
from backend.queues import Queues
from backend.settings import Settings


def main() -> int:
    """Ask Redis, where each live worker renews a key of 10 seconds with its host's name."""
    client = embedded_redis.connect(Settings.from_env(os.environ), decode=False)
    return 0 if Queues(client).works_on(socket.gethostname()) else 1


if __name__ == "__main__":
    sys.exit(main())
