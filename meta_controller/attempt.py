"""One call about one question, or about a pack of them, and what it brought; never raises."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from meta_controller.errors import LanguageModelError, NoVerdict
from meta_controller.language_model import LanguageModel, Prompt, Question, Reply, Tokens
from meta_controller.packing import build_pack
from meta_controller.prompt import build_prompt
from meta_controller.wire import to_replies

log = logging.getLogger(__name__)

UNPACKED = "unpacked"
"""How a packed call ends that brought nothing: its questions are asked by themselves."""


@dataclass(frozen=True)
class Result:
    """A reply to each question, in order, None where there is none; or an error.

    In a pack, a question without a reply is to be asked by itself.
    """

    replies: tuple[Reply | None, ...]
    error: LanguageModelError | None
    tokens: Tokens
    latency_s: float

    @property
    def kind(self) -> str:
        """How the call ended, for the ledger."""
        packed = len(self.replies) > 1
        if isinstance(self.error, NoVerdict) and packed:
            return f"{UNPACKED}: {self.error.kind}"
        if self.error:
            return self.error.kind
        return next(iter(self.kinds), UNPACKED)

    @property
    def kinds(self) -> Counter[str]:
        """How many questions got a verdict or "unsure", verdicts first."""
        said = [bool(reply.labels) for reply in self.replies if reply]
        return +Counter({"verdict": sum(said), "unsure": len(said) - sum(said)})

    @property
    def more(self) -> Counter[str]:
        """The answers beyond the one that `kind` counts."""
        return self.kinds - Counter([self.kind])


def prompt_for(questions: Sequence[Question]) -> Prompt:
    """What is sent to ask one question, or several with the same prefix."""
    return build_prompt(questions[0]) if len(questions) == 1 else build_pack(questions)


def attempt(model: LanguageModel, questions: Sequence[Question]) -> Result:
    """Ask once, in a pool thread; every exception becomes a result, so no call goes unsettled."""
    started_s = time.monotonic()
    none: tuple[Reply | None, ...] = (None,) * len(questions)
    try:
        replies, tokens = _ask(model, questions)
        return Result(replies, None, tokens, time.monotonic() - started_s)
    except LanguageModelError as failure:
        error = failure
    except Exception as bug:  # its text may hold the task's: only its class is told
        log.error("%s %s: %s while asking", model.provider, model.model, type(bug).__name__)
        message = f"{model.provider} {model.model}: {type(bug).__name__} while asking: report it"
        error = NoVerdict(message, "internal error", maybe_billed=True)
    return Result(none, error, error.tokens, time.monotonic() - started_s)


def _ask(
    model: LanguageModel, questions: Sequence[Question]
) -> tuple[tuple[Reply | None, ...], Tokens]:
    if len(questions) == 1:
        reply = model.ask(questions[0])
        return (reply,), reply.tokens
    completion = model.complete(build_pack(questions))
    return to_replies(questions, completion), completion.tokens
