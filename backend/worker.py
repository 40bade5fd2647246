"""A worker's door: `python -m backend worker review|push|train`.

`review` and `push` run their jobs in this process (they wait for others, or keep a model loaded);
`train` spawns a process for each job (train_worker.py). Every review worker can run the scheduler;
a lease lets one of them do it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import uuid
from dataclasses import asdict

from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from backend import embedded_redis, logs
from backend.committees import check_runtime
from backend.queues import KINDS, about
from backend.scheduler import Scheduler
from backend.settings import Settings
from backend.train_worker import TrainWorker
from backend.wiring import Wiring

logger = logging.getLogger(__name__)

# A stage takes minutes and nobody waits for it; annotators on the same cores do (BENCHMARKS.md).
_TRAIN_NICENESS = 15


class JobWorker(SimpleWorker):
    """Does jobs in its own process; lines of the log tell which."""

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Do one job."""
        with logs.job(**about(job)):
            super().execute_job(job, queue)


_WORKERS: dict[str, type[BaseWorker]] = {
    "review": JobWorker,
    "push": JobWorker,
    "train": TrainWorker,
}


def run(wiring: Wiring, kind: str, *, burst: bool = False) -> None:
    """Work until told to stop (SIGTERM finishes the job first); `burst` stops when idle.

    Raises:
        RedisMissing: Redis does not answer.
        RuntimeUnavailable: This machine lacks what RUNTIME asks for.
    """
    if kind in ("push", "train"):
        check_runtime(wiring.settings)
    embedded_redis.check(wiring.redis, wiring.settings)
    name = f"{kind}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    worker = _WORKERS[kind](
        [wiring.queues.queue(kind)],
        name=name,
        connection=wiring.raw_redis,
        serializer=JSONSerializer,
        worker_ttl=60,
        log_job_description=False,
    )
    if isinstance(worker, TrainWorker):
        worker.bound_jobs(wiring.settings.stage_timeout)
        if hasattr(os, "nice"):
            os.nice(_TRAIN_NICENESS)
    stop = threading.Event()
    settings = wiring.settings
    wiring.queues.tell(kind, **facts(settings))
    threads = [threading.Thread(target=_report, args=(wiring, kind, name, stop), daemon=True)]
    if kind == "review" and not burst:
        threads.append(threading.Thread(target=Scheduler(wiring).run, args=(stop,), daemon=True))
    for thread in threads:
        thread.start()
    try:
        worker.work(burst=burst, logging_level=wiring.settings.log_level)
    finally:
        stop.set()
        wiring.queues.gone(kind, name)


def facts(settings: Settings) -> dict[str, str]:
    """What a worker runs with, as far as `status` and `connect` tell it."""
    return {
        "llm": _llm(settings),
        "llm_provider": _provider(settings),
        "llm_share": str(settings.llm_share),
        "llm_caps": json.dumps(asdict(settings.llm_caps)),
        "decision_rule": settings.decision_rule,
        "stage_size": str(settings.stage_size),
    }


def _provider(settings: Settings) -> str:
    if not settings.has_llm:
        return "none"
    return settings.llm_provider or ("anthropic" if settings.anthropic_api_key else "openai")


def _llm(settings: Settings) -> str:
    if settings.llm_mode == "off":
        return "off (LLM_MODE): no text leaves this machine, hard samples wait for people"
    if not settings.has_llm:
        return "none: hard samples wait for people"
    if settings.llm_provider == "scripted":
        return "scripted: answers come from a file, no LLM is asked"
    from meta_controller.prices import price_of
    from meta_controller.providers import DEFAULT_MODELS

    provider = _provider(settings)
    model = settings.llm_model or DEFAULT_MODELS[provider]
    price = price_of(provider, model, settings.llm_base_url, settings.llm_price)
    known = "" if price.known else ", its price unknown, bounded in tokens (LLM_BUDGET_TOKENS)"
    return f"{provider} {model}{known}"


def _report(wiring: Wiring, kind: str, name: str, stop: threading.Event) -> None:
    logs.tell()  # it reports whatever job is done meanwhile
    while True:
        try:
            wiring.queues.report(kind, name)
        except Exception as error:  # Redis restarts; the next report is seconds away
            logger.warning("%s: not reported: %s", name, type(error).__name__)
        if stop.wait(3.0):
            return


__all__ = ["KINDS", "run"]
