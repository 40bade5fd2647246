"""The demo that `make demo` starts: projects, texts and answer key ship with it."""
