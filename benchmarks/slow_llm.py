"""A local LLM that takes its time: OpenAI's wire format, the gold label as its answer.

Tokens are the server's `usage`: characters / 4, OpenAI's rule of thumb for English. It shows what
waiting for a provider costs; how well a real LLM answers is `benchmarks.replay`'s matter.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks import local_llm
from benchmarks.asked import answer, read

_CHARS_PER_TOKEN = 4
_REASON = "The words leave little doubt about what the writer wants to say."


@contextmanager
def serve(answers: Mapping[str, str], delay_s: float) -> Iterator[str]:
    """Serve on a free port of this machine; yields the base URL.

    `answers` maps each text as it is sent (`sendable`) to a label; any other question is a 404.
    """

    def decide(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        asked = read(request)
        labels = [answers.get(text) for text in asked.texts]
        known = [label for label in labels if label is not None]
        if not known or len(known) < len(labels):
            return None
        time.sleep(delay_s)
        text = answer(asked, known, _REASON)
        sent = (len(asked.system) + len(asked.user)) // _CHARS_PER_TOKEN
        return local_llm.completion(request, text, sent, len(text) // _CHARS_PER_TOKEN)

    with local_llm.serve(decide) as url:
        yield url
