"""A recorded LLM: a local server with OpenAI's wire format, asked by the product's own client.

Each row is asked once, with the product's prompt and answer check. Tokens are the server's
`usage`: characters / 4, OpenAI's rule of thumb for English. What it cannot show: the recorded
model saw its study's prompt, not ours, and gave no reason that we could count.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import local_llm
from benchmarks.replay.data import Replay
from meta_controller.errors import NoVerdict
from meta_controller.language_model import LanguageModel, Question
from meta_controller.prices import Price, price_of
from meta_controller.prompt import build_prompt
from meta_controller.providers import build

CONTROL = "label"
_CHARS_PER_TOKEN = 4
# USD per million tokens (in, out) of models too old for the product's list; OpenAI's last prices.
_OLD_PRICES = {"gpt-3.5-turbo": (0.50, 1.50), "gpt-4-0613": (30.0, 60.0)}


@dataclass(frozen=True)
class Answers:
    """What the LLM said on each row: `labels` (n,) indices, -1 for no verdict; `nano_usd` (n,)."""

    labels: npt.NDArray[np.intp]
    nano_usd: npt.NDArray[np.int64] | None  # None: nobody knows the model's price

    def usd(self, times: npt.NDArray[np.float64]) -> float | None:
        """The price of asking row i `times[i]` times, shape (n,); None when it is not known."""
        if self.nano_usd is None:
            return None
        return round(float((self.nano_usd * times).sum()) / 1e9, 6)


def ask_all(replay: Replay, column: str) -> Answers:
    """Ask about every row once, in order, over HTTP."""
    model = model_of(column)
    price = _price(model)
    with serve(replay) as base_url:
        client = build(provider="openai", model=model, base_url=base_url)
        if client is None:
            raise RuntimeError("the openai provider makes a client; this one made none")
        asked = [_ask(client, replay, text, price) for text in replay.texts]
    labels = np.array([label for label, _ in asked], dtype=np.intp)
    nano_usd = np.array([cost for _, cost in asked], dtype=np.int64)
    return Answers(labels, nano_usd if price.known else None)


def model_of(column: str) -> str:
    """The model's name as its provider writes it, from the name of a recorded column."""
    name = column.removeprefix("llm_").replace("_", "-")
    name = re.sub(r"^gpt35.*", "gpt-3.5-turbo", name)
    return re.sub(r"^gpt-(\d)-(\d)-", r"gpt-\1.\2-", name)


@contextmanager
def serve(replay: Replay) -> Iterator[str]:
    """Serve the recorded answers on a free port of this machine; yields the base URL.

    Rows are told apart by the sample as the prompt has it; equal texts answer in row order.
    """
    waiting: dict[str, deque[str]] = {}
    for text, cell in zip(replay.texts, replay.recorded, strict=True):
        waiting.setdefault(build_prompt(_question(replay, text)).sample, deque()).append(cell)

    def decide(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        cells = waiting.get(request["messages"][-1]["content"])
        if not cells:
            return None
        text = json.dumps({"label": cells.popleft(), "reason": "recorded"})
        asked = sum(len(message["content"]) for message in request["messages"])
        sent, written = asked // _CHARS_PER_TOKEN, len(text) // _CHARS_PER_TOKEN
        return local_llm.completion(request, text, sent, written)

    with local_llm.serve(decide) as url:
        yield url


def _ask(client: LanguageModel, replay: Replay, text: str, price: Price) -> tuple[int, int]:
    """The label's index, -1 for no verdict, and what the call cost."""
    try:
        reply = client.ask(_question(replay, text))
    except NoVerdict as error:
        return -1, price.nano_usd(error.tokens)
    cost = price.nano_usd(reply.tokens)
    return (replay.labels.names.index(reply.labels[0]) if reply.labels else -1), cost


def _question(replay: Replay, text: str) -> Question:
    return Question(CONTROL, text, replay.labels)


def _price(model: str) -> Price:
    old = next((pair for name, pair in _OLD_PRICES.items() if model.startswith(name)), None)
    return price_of("openai", model, override=old)
