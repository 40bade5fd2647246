"""Clients that ask at the same time, single tasks each, as annotators do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from benchmarks.running import Backend, predict_body
from benchmarks.texts import Texts

CLIENTS = 8


@dataclass(frozen=True)
class Reply:
    """One request of a parallel client; `tag` is empty when it failed."""

    ms: float
    tag: str


@contextmanager
def clients(running: Backend, texts: Texts) -> Iterator[list[Reply]]:
    """Keep 8 clients sending single tasks; yields their replies as they come."""
    stop, lock = threading.Event(), threading.Lock()
    replies: list[Reply] = []

    def ask() -> None:
        with httpx.Client(base_url=running.client.base_url, timeout=120) as client:
            while not stop.is_set():
                with lock:
                    body = predict_body(texts.take(1))
                started = time.perf_counter()
                try:
                    answer = client.post("/predict", json=body)
                    results = answer.json()["results"] if answer.status_code == 200 else []
                except httpx.HTTPError:
                    results = []
                tag = str(results[0]["model_version"]) if results else ""
                replies.append(Reply((time.perf_counter() - started) * 1000, tag))

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask) for _ in range(CLIENTS)]
        try:
            yield replies
        finally:
            stop.set()
        for one in asking:
            one.result()
