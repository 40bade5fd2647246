"""The status page: what the backend does, for people in a browser, and the buttons on it."""
