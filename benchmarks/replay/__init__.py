"""Recorded LLM answers, replayed through the product: accuracy by share of LLM calls."""
