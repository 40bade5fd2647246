"""The door to Label Studio: HTTP app, write-back, jobs, settings, wiring, command line."""

__version__ = "0.7.2"
