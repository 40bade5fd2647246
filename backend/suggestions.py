"""Sentences that an LLM suggests for a guideline, one for each pair of labels in conflict.

Kept in Redis, so that nothing is paid twice; people read them, nothing follows by itself. Texts are
sent as in a review: redacted where that is wanted, and none that looks like an attack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from backend.conflicts import EXAMPLES, Gap, key_of
from backend.label_config import parse
from backend.projects import Project
from backend.wiring import NotConfigured, Wiring

if TYPE_CHECKING:
    from meta_controller.guideline import Confusion

LEAST = 3
"""Conflicts below which a pair of labels is no gap in a guideline."""
MOST = 5
"""Questions in one go: of the largest gaps."""

Say = Callable[[str], None]


def suggested_key(project_id: int) -> str:
    """Hash: gap -> the sentence that was suggested."""
    return f"aa:project:{project_id}:suggested"


def read(wiring: Wiring, project_id: int) -> dict[str, str]:
    """The sentences by gap."""
    rows = wiring.redis.hgetall(suggested_key(project_id))
    return {str(gap): str(sentence) for gap, sentence in rows.items()}


def ask(wiring: Wiring, project: Project, gaps: Sequence[Gap], say: Say) -> None:
    """Let the LLM word what it was not asked yet, of the largest gaps; why not is said.

    Raises:
        LeaseHeld: Another command asks at the moment.
    """
    from meta_controller import guideline
    from meta_controller.consult import consult
    from meta_controller.errors import MetaControllerError

    known = read(wiring, project.id)
    open_gaps = [gap for gap in gaps if len(gap.conflicts) >= LEAST and key_of(gap) not in known]
    try:
        model = wiring.language_model
        if model is None or model.provider == "scripted" or not open_gaps:
            return
        price = wiring.price(model)
        ledger = wiring.ledger(project.id, price)
        with wiring.lease(f"suggestions:{project.id}") as lease:
            for gap in open_gaps[:MOST]:
                prompt = guideline.prompt_of(_confusion(wiring, project, gap))
                answer = consult(
                    model, prompt, ledger, price, "guideline", lease.transaction, lease.token
                )
                sentence = guideline.read(answer.text)
                wiring.redis.hset(suggested_key(project.id), key_of(gap), sentence)
    except (MetaControllerError, NotConfigured, ValueError) as error:
        say(f"The LLM suggests nothing: {error}")


def _confusion(wiring: Wiring, project: Project, gap: Gap) -> Confusion:
    from meta_controller.guideline import Confusion

    control = next(one for one in parse(project.label_config) if one.name == gap.control)
    named = {label for labels in gap.answers for label in labels}
    told = [f"{name}: {text}" for name, text in control.descriptions if name in named]
    one, other = (" + ".join(labels) for labels in gap.answers)
    texts = list(_texts(wiring, gap, control.labels.names))
    return Confusion((one, other), texts, project.guideline, told)


def _texts(wiring: Wiring, gap: Gap, names: Sequence[str]) -> Iterator[str]:
    """A few of the texts, as they may leave this machine."""
    from meta_controller.injection import suspicion

    redactor = wiring.redactor
    honest = (c.text for c in gap.conflicts if suspicion(c.text, names).level == "none")
    for text, _ in zip(dict.fromkeys(honest), range(EXAMPLES), strict=False):
        yield redactor.redact(text)[0] if redactor else text
