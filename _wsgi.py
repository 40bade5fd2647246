"""The web process's door: `gunicorn _wsgi:app`."""

from backend.environment import read_environment
from backend.logs import configure
from backend.settings import Settings
from backend.web.app import create_app
from backend.wiring import Wiring

settings = Settings.from_env(read_environment())
configure(settings.log_level, settings.log_format)
app = create_app(Wiring(settings))
