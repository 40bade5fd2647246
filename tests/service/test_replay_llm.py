"""The recorded LLM answers over HTTP as the product's client expects, each row once."""

from __future__ import annotations

import httpx
import numpy as np

from benchmarks.replay.data import Replay
from benchmarks.replay.recorded_llm import ask_all, serve
from specialists.types import Label, LabelSet

LABELS = LabelSet((Label("no"), Label("yes")))


def replay() -> Replay:
    texts = ["good", "bad", "twice", "twice", "strange", "long " * 4_000]
    recorded = ["yes", "no", "yes", "no", "unparsed", "yes"]
    return Replay(LABELS, texts, np.zeros(6, dtype=np.intp), recorded)


def test_every_cell_comes_back_as_the_clients_verdict() -> None:
    answers = ask_all(replay(), "llm_gpt_4o_2024_11_20")
    assert answers.labels.tolist() == [1, 0, 1, 0, -1, 1]
    assert answers.nano_usd is not None
    assert answers.nano_usd.min() > 0
    assert answers.usd(np.ones(6)) > answers.usd(np.full(6, 0.25)) * 3.9


def test_a_model_without_a_known_price_costs_an_unknown_sum() -> None:
    assert ask_all(replay(), "llm_nobodys_model").usd(np.ones(6)) is None


def test_a_row_is_answered_once_only() -> None:
    from meta_controller.language_model import Question
    from meta_controller.prompt import build_prompt

    sample = build_prompt(Question("label", "good", LABELS)).sample
    body = {"model": "m", "messages": [{"role": "user", "content": sample}]}
    with serve(replay()) as base_url, httpx.Client() as client:
        statuses = [
            client.post(f"{base_url}/chat/completions", json=body).status_code for _ in range(2)
        ]
    assert statuses == [200, 404]
