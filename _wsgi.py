"""The web process's door: `gunicorn _wsgi:app`."""

import gc
import os

from backend.environment import read_environment
from backend.logs import configure
from backend.settings import Settings
from backend.web.app import create_app
from backend.wiring import Wiring

environ = read_environment()
os.environ.update(environ)  # the libraries of object stores read their keys there
settings = Settings.from_env(environ)
configure(settings.log_level, settings.log_format)
app = create_app(Wiring(settings))
gc.freeze()  # libraries stay for good: no request should wait for a collection that looks at them
