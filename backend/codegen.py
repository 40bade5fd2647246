"""`python -m backend codegen`: code for a model that the built-in path cannot run.

Joins what writes (`meta_controller/codegen.py`), what tests (`specialists/contract.py`) and what
keeps (`specialists/generated_store.py`). The code is run by nobody but the sandbox.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.approval import approve, generated
from backend.errors import BackendError
from backend.jobs import lease_name
from backend.jobs.prepare import project_texts
from backend.label_config import Control, parse
from backend.wiring import NotConfigured, Wiring
from specialists import isolation, threads, weights
from specialists.contract import BuiltIn, Report, examine, texts_per_s
from specialists.errors import SpecialistUnavailable
from specialists.generated_store import MODULE, Generated
from specialists.label_map import match
from specialists.loading import own_labels
from specialists.types import LabelSet, SpecialistRef

if TYPE_CHECKING:
    from meta_controller.codegen import Module
    from meta_controller.language_model import Completion, Prompt

Say = Callable[[str], None]

_TEXTS = 32  # of the project, beside the contract's own: the test runs them some ten times
_WORK = "code generation"


class CodegenFailed(BackendError):
    """No code was kept; the message says why and what to do."""


def generate(wiring: Wiring, project_id: int, model: str, control_name: str, say: Say) -> str:
    """Let code be written for a model and test it; returns the id under which it is kept.

    Raises CodegenFailed, NoIsolation, NotConfigured, SpecialistUnavailable.
    """
    kind = isolation.find()  # before anything is paid for
    control = _control(wiring, project_id, control_name)
    folder = weights.published(model, wiring.settings.models / "converted")
    say(f"Asking for code for {model}; it is tested in {kind.name} ...")
    written = _write(wiring, project_id, control, model, folder, lambda line: say(_plain(line)))
    made = Generated(
        code=written.code,
        model=str(folder.resolve()) if Path(model).is_dir() else model,
        digest=weights.digest(folder),
        labels=control.labels,
        llm=written.llm,
        prompt=f"{written.prompt.system}\n\n{written.prompt.sample}",
        notes=written.notes,
        report=written.report.to_json(),
        at=time.time(),
    )
    store = generated(wiring.settings)
    name = store.put(made)
    say(_plain(f"{_table(written.report)}\n\nIts author, {made.llm}, notes: {made.notes}\n"))
    say(f"The code lies in {store.folder(name) / MODULE}")
    if wiring.settings.codegen_approval == "auto":
        approve(wiring.settings, name, "CODEGEN_APPROVAL=auto", say)
    else:
        say(f"Read it, then let it serve: python -m backend approve {name}")
    return name


def _write(
    wiring: Wiring, project_id: int, control: Control, model: str, folder: Path, say: Say
) -> Module[Report]:
    """Have it written, each call paid through the project's ledger."""
    from meta_controller import codegen
    from meta_controller.consult import consult
    from meta_controller.errors import MetaControllerError

    texts = project_texts(wiring, project_id, control)[:_TEXTS]
    assignment = codegen.Assignment(
        folder.name if Path(model).is_dir() else model,  # where folders lie is nobody's business
        control.labels,
        json.dumps(weights.config(model), indent=1),
        weights.card(model),
        tuple(sorted(path.name for path in folder.iterdir())),
    )

    def built_in(probes: Sequence[str]) -> BuiltIn:
        return _built_in(wiring, model, control.labels, folder, probes)

    def test(code: str) -> Report:
        return examine(code, folder, control.labels, texts, built_in)

    try:
        llm = wiring.language_model
        if llm is None:
            raise NotConfigured(
                "Code is written by an LLM, and none is there: set ANTHROPIC_API_KEY or "
                "OPENAI_API_KEY, and LLM_MODE=on."
            )
        price = wiring.price(llm)
        ledger = wiring.ledger(project_id, price)
        with wiring.lease(lease_name("codegen", project_id)) as lease:

            def ask(prompt: Prompt) -> Completion:
                return consult(llm, prompt, ledger, price, _WORK, lease.transaction, lease.token)

            return codegen.write(assignment, ask, test, say)
    except MetaControllerError as error:
        raise CodegenFailed(str(error)) from error


def _built_in(
    wiring: Wiring, model: str, labels: LabelSet, folder: Path, texts: Sequence[str]
) -> BuiltIn:
    """What the built-in path does with a model, as far as it can.

    Where it cannot open it, its speed is that of the embedded base model, were it as large.
    """
    threads.limit()
    try:
        own = own_labels(model)
        found = match(own, labels, model)
        votes = set(found.values()) == set(labels.names)
        # Speed can be measured whatever the outputs are called.
        ref = SpecialistRef("built-in", model, found if votes else {own[0]: labels.names[0]})
        one, scale = wiring.models.specialist(ref, labels, None), 1.0
    except SpecialistUnavailable:
        one, votes = wiring.models.embedder(labels), False
        scale = min(1.0, one.size_bytes / _size_bytes(folder))
    seen = one.observe(texts).votes[:, 0].astype(np.float64) if votes else None
    return BuiltIn(scale * texts_per_s(one.observe, texts), seen)


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _control(wiring: Wiring, project_id: int, name: str) -> Control:
    project = wiring.projects.get(project_id)
    if project is None or not project.label_config:
        raise CodegenFailed(
            f"Project {project_id} is unknown: python -m backend connect --project {project_id}"
        )
    controls = {control.name: control for control in parse(project.label_config)}
    if not name and len(controls) == 1:
        return next(iter(controls.values()))
    if name not in controls:
        raise CodegenFailed(
            f"The control {name!r} is none of the project's: give --control, one of "
            f"{', '.join(controls)}."
        )
    return controls[name]


def _plain(text: str) -> str:
    """What others wrote, without what steers a terminal."""
    return "".join(one if one.isprintable() or one == "\n" else "?" for one in text)


def _table(report: Report) -> str:
    width = max(len(check.name) for check in report.checks)
    return "\n".join(
        f"{'passed' if check.passed else 'FAILED'}  {check.name:{width}}  {check.seen}"
        for check in report.checks
    )
