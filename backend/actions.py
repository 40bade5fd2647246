"""What people may do to a project, from the command line or the status page, and what it tells."""

from __future__ import annotations

from backend import pauses
from backend.errors import BackendError
from backend.jobs.push import show_tag
from backend.projects import Project
from backend.wiring import Wiring


def known(wiring: Wiring, project_id: int) -> Project:
    """The record of a project; raises BackendError for an unknown one."""
    project = wiring.projects.get(project_id)
    if project is None:
        raise BackendError(f"Project {project_id} is unknown; python -m backend status lists all.")
    return project


def train_now(wiring: Wiring, project_id: int) -> str:
    """Start a stage with what is in the pool, whatever its size."""
    wiring.projects.desk(project_id).set_stage(now=1, cancel=0)
    wiring.queues.wake("train", project_id)
    waiting = wiring.pool(project_id).waiting()
    return f"A stage of project {project_id} starts with {waiting} verdicts in the pool."


def roll_back(wiring: Wiring, project: Project, to: str | None) -> str:
    """Serve an earlier tag again, `to` or the one before.

    Raises:
        TagNotKept: It cannot be chosen; the message lists those that can.
        CheckpointDamaged: Its files are not whole; nothing has changed.
    """
    promotions, keep = wiring.promotions(project.id), wiring.settings.keep_tags
    tag = promotions.target(to, keep)
    wiring.store.check(tag)
    promotions.rollback(tag, wiring.redis, keep)
    show_tag(wiring, project, tag)
    told = f"Project {project.id} serves {tag} again; annotators see it from the next task on."
    desk = wiring.projects.desk(project.id)
    if desk.stage().get("running") or desk.candidate():
        told += (
            "\nThe stage under way went on from another tag: its verdicts wait for the next one."
        )
    return told


def pause_review(wiring: Wiring, project_id: int) -> str:
    """Ask the LLM nothing more about a project until `resume_review`."""
    pauses.hold(wiring.redis, project_id)
    return (
        f"The LLM is asked nothing more about project {project_id}, after the questions that are "
        "under way; its hard samples wait."
    )


def resume_review(wiring: Wiring, project_id: int) -> str:
    """Let the LLM be asked about a project again."""
    pauses.release(wiring.redis, project_id)
    wiring.queues.wake("review", project_id)
    return f"The LLM may be asked about project {project_id} again."
