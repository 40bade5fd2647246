"""Annotators as Label Studio sends their work to us: tasks opened, answers submitted.

Each opens a task (/health, /setup, /predict of one task, as Label Studio asks), reads for some
seconds and submits (/webhook). As Label Studio's, every request has a connection of its own and the
time that Label Studio waits; what takes longer is an error. It measures, and judges nothing.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.running import SETUP, hook_body, predict_body
from benchmarks.texts import Sample, Texts

WAITS_S = {"/health": 1.0, "/setup": 3.0, "/predict": 100.0, "/webhook": 1.0}
"""How long Label Studio waits."""
PAUSE_S = 5.0, 10.0
"""An annotator's shortest and longest look at a task."""


@dataclass(frozen=True)
class Call:
    """One request; `error` is empty when it was answered in time with 200. `marked` as asked."""

    path: str
    ms: float
    error: str
    marked: bool


class Annotators:
    """People who work until they are told to stop; `calls` has their requests so far."""

    def __init__(
        self,
        url: str,
        texts: Texts,
        count: int,
        marked: Callable[[], bool] = lambda: False,
        pause_s: tuple[float, float] = PAUSE_S,
    ) -> None:
        """`marked` says of each request whether it was made at a time of interest."""
        self.calls: list[Call] = []
        self._url = url
        self._texts = texts
        self._count = count
        self._marked = marked
        self._pause_s = pause_s
        self._stop = threading.Event()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let them work, in a thread; at the end each finishes what it does."""
        failed: list[BaseException] = []

        def work() -> None:
            try:
                asyncio.run(self._all())
            except BaseException as error:  # told to whoever waits
                failed.append(error)

        thread = threading.Thread(target=work, name="annotators")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        if failed:
            raise failed[0]

    async def _all(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=self._url, limits=limits) as client:
            await asyncio.gather(*(self._annotate(client, n) for n in range(self._count)))

    async def _annotate(self, client: httpx.AsyncClient, number: int) -> None:
        dice = random.Random(number)
        await self._pause(dice.uniform(0, self._pause_s[1]))  # they do not all begin at once
        while not self._stop.is_set():
            (sample,) = self._texts.take(1)
            body = predict_body([sample])
            await self._ask(client, "/health")
            await self._ask(client, "/setup", SETUP)
            await self._ask(client, "/predict", body)
            await self._pause(dice.uniform(*self._pause_s))
            if not self._stop.is_set():
                task = int(body["tasks"][0]["id"])
                await self._ask(client, "/webhook", submitted(sample, task, 1 + number))

    async def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stop.is_set() and time.monotonic() < until:
            await asyncio.sleep(min(0.2, max(0.0, until - time.monotonic())))

    async def _ask(self, client: httpx.AsyncClient, path: str, body: Any = None) -> None:
        started, marked, error = time.perf_counter(), self._marked(), ""
        method = "GET" if body is None else "POST"
        try:
            answer = await client.request(method, path, json=body, timeout=WAITS_S[path])
            error = "" if answer.status_code == 200 else f"status {answer.status_code}"
        except httpx.HTTPError as failure:
            error = type(failure).__name__
        ms = (time.perf_counter() - started) * 1000
        if not error and ms > 1000 * WAITS_S[path]:
            error = "too late"
        self.calls.append(Call(path, ms, error, marked))


def submitted(sample: Sample, task: int, who: int) -> dict[str, Any]:
    """The hook of an answer that somebody gives now."""
    body = hook_body(sample)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body["annotation"] |= {"id": task, "task": task, "completed_by": who, "updated_at": now}
    body["task"]["id"] = task
    return body


def quantile_ms(calls: Sequence[Call], path: str, share: float) -> float:
    """The time that a share of a path's requests did not exceed; 0.0 without any."""
    times = sorted(one.ms for one in calls if one.path == path)
    return round(times[min(len(times) - 1, int(len(times) * share))], 1) if times else 0.0


def errors(calls: Sequence[Call]) -> dict[str, int]:
    """How often each path failed, and how."""
    found: dict[str, int] = {}
    for one in calls:
        if one.error:
            told = f"{one.path}: {one.error}"
            found[told] = found.get(told, 0) + 1
    return found
