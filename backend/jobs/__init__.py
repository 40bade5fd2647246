"""The jobs that RQ runs: `run(job, project_id)`, one unit of work under its lease.

Arguments are ids. Every job can run twice and be killed at any line: what is to be done and what
is done lies in Redis, and all writes go through the lease.
"""

from __future__ import annotations

import importlib
import logging
import os
from functools import cache

from backend.devices import DevicesBusy
from backend.errors import BackendError, LabelStudioError
from backend.lease import LeaseHeld, LeaseLost
from backend.wiring import Wiring
from backend.writes import REASONS
from training.errors import TrainingError
from training.shortages import shortage

logger = logging.getLogger(__name__)

_LABEL_STUDIO_PAUSE_S = 10
_BUG_PAUSE_S = 60


def lease_name(job: str, project_id: int, *part: str) -> str:
    """The lease under which a job works on a project, or on a part of it."""
    return ":".join((job, str(project_id), *part))


def pause_key(job: str, project_id: int) -> str:
    """Exists while a job that failed is not tried again."""
    return f"aa:pause:{job}:{project_id}"


def run(job: str, project_id: int, *part: str) -> str:
    """Do one unit of work; the returned sentence is kept as the RQ job's result.

    A job that is cut into parts is told which part. Errors go to the journal with their next step;
    the scheduler tries again what still waits.
    """
    wiring = _wiring()
    wiring.queues.started(job, project_id)
    wiring.writes.because(project_id, REASONS.get(job, job))
    work = importlib.import_module(f"backend.jobs.{job}").work
    try:
        with wiring.lease(lease_name(job, project_id, *part)) as lease:
            done: str = work(wiring, project_id, lease, *part)
    except LeaseHeld:
        return "Somebody else does this already."
    except LeaseLost as error:
        logger.warning("project %d: %s stopped: %s", project_id, job, error)
        return str(error)
    except LabelStudioError as error:
        _pause(wiring, job, project_id, str(error), _LABEL_STUDIO_PAUSE_S)
        return str(error)
    except DevicesBusy as error:  # the project's lease is free: another machine can do it
        logger.info("project %d: %s: %s", project_id, job, error)
        return error.wait()
    except Exception as error:
        told = shortage(error) or error
        ours = isinstance(told, (BackendError, TrainingError))
        text = str(told) if ours else f"{type(error).__name__}, see the log of the {job} worker"
        _pause(wiring, job, project_id, text, _BUG_PAUSE_S)
        if ours and told is error:
            return text
        raise
    logger.info("project %d: %s: %s", project_id, job, done)
    return done


def _pause(wiring: Wiring, job: str, project_id: int, why: str, pause_s: int) -> None:
    """Tell what went wrong, and let the scheduler wait before it tries again."""
    logger.warning("project %d: %s: %s", project_id, job, why)
    wiring.journal.error(job, why, project_id)
    wiring.redis.set(pause_key(job, project_id), 1, ex=pause_s)


@cache
def _wiring() -> Wiring:
    """The parts of this worker process, built at its first job."""
    from backend.settings import Settings

    return Wiring(Settings.from_env(os.environ))
