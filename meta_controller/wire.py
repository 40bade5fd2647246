"""What the two SDKs have in common: optional request fields, lost connections, odd replies.

Both stand on httpx2, so what happened on the wire is read from its exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from meta_controller.confidence import label_chances
from meta_controller.errors import LanguageModelError, NoVerdict, Retryable
from meta_controller.language_model import NO_TOKENS, Completion, Question, Reply, Tokens
from meta_controller.packing import read_pack
from meta_controller.prompt import aliases, read_answer

UPLOAD_S = 600.0
"""For a batch of many megabytes, up or down."""


class Option:
    """A request field that not every model or server knows.

    Sent until a request with it is answered by HTTP 400 before any was accepted; that request
    is to be asked again without. One is kept per model object, so per process.
    """

    def __init__(self) -> None:
        self._accepted = False
        self._refused = False

    @property
    def wanted(self) -> bool:
        """Tell whether to send the field."""
        return self._accepted or not self._refused

    def accepted(self, sent: bool) -> None:
        """Note that a request went through."""
        self._accepted = self._accepted or sent

    def refused(self, failure: LanguageModelError, sent: bool) -> LanguageModelError:
        """Turn a first rejection of the field into a reason to ask again without it."""
        if failure.kind != "rejected" or not sent or self._accepted:
            return failure
        self._refused = True
        return Retryable(
            "the server rejected an optional field: asking without it",
            "option refused",
            retry_after_s=0.0,
        )


@contextmanager
def speaking(
    who: str, root: type[Exception], translate: Callable[[Any, str], LanguageModelError]
) -> Iterator[None]:
    """Turn whatever an SDK (its errors' `root`) or the wire raises inside into our errors."""
    import httpx2

    try:
        yield
    except root as error:
        # "from None": what the provider wrote may quote the key or the text.
        raise translate(error, who) from None
    except httpx2.HTTPError:  # while a body was streamed
        raise Retryable(f"{who}: connection lost: try again", "connection") from None
    except (ValueError, KeyError, TypeError):  # not what the API promises
        raise broken_reply(who) from None


def lost_connection(error: Exception, who: str) -> Retryable:
    """Class a connection error by its cause; only a request that left may have been billed."""
    import httpx2  # here: the reviewer reads answers with this module, and loads no SDK

    cause = error.__cause__
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return Retryable(f"{who}: cannot connect: check the base URL and network", "connection")
    if isinstance(cause, httpx2.TimeoutException):
        return Retryable(f"{who}: no answer in time: try again", "timeout", maybe_billed=True)
    return Retryable(f"{who}: connection lost: try again", "connection", maybe_billed=True)


def broken_reply(who: str) -> Retryable:
    """A success status whose body is not what the API promises: some proxy's page, a cut body."""
    text = f"{who}: the reply was unreadable: try again"
    return Retryable(text, "server error", maybe_billed=True)


def no_verdict(who: str, kind: str, why: str, tokens: Tokens = NO_TOKENS) -> NoVerdict:
    """An answer that was paid for and is none."""
    text = f"{who}: {kind}, {why}: leave the text to people"
    return NoVerdict(text, kind, tokens=tokens)


def to_reply(question: Question, completion: Completion, who: str) -> Reply:
    """Check the model's words and make a reply of them.

    Raises:
        NoVerdict: they are no JSON object or name a label outside the project's set.
    """
    try:
        labels, reason = read_answer(question.labels, completion.text, aliases(question))
    except ValueError as error:
        raise no_verdict(who, "invalid answer", str(error), completion.tokens) from None
    chances = label_chances(completion)
    return _reply(labels, reason, completion, completion.tokens, chances[-1] if chances else None)


def to_replies(questions: Sequence[Question], completion: Completion) -> tuple[Reply | None, ...]:
    """Check the answers to a pack: replies in its order, None for what must be asked by itself.

    The call's tokens are not split: each reply has none.
    """
    chances = label_chances(completion)
    found: list[Reply | None] = []
    for answer in read_pack(questions, completion.text):
        if answer is None:
            found.append(None)
            continue
        known = len(chances) == answer.of
        chance = chances[answer.place] if known else None
        found.append(_reply(answer.labels, answer.reason, completion, NO_TOKENS, chance))
    return tuple(found)


def _reply(
    labels: tuple[str, ...],
    reason: str,
    completion: Completion,
    tokens: Tokens,
    confidence: float | None,
) -> Reply:
    return Reply(labels, reason, tokens, completion.latency_s, completion.model, confidence)
