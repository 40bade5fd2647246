"""A project of a million tasks without inference: what grows, and how fast."""
