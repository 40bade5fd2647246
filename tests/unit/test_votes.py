"""Votes are computed once: shared by parallel requests, kept by tag and text, bounded."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from backend.votes import Votes
from specialists.batcher import Batcher
from specialists.committee import Committee
from specialists.evidence import Evidence
from specialists.transformer import Specialist, Verbatim
from specialists.types import Label, LabelSet

LABELS = LabelSet((Label("a"), Label("b")))
KEY = ("stage-0-00000000", "c")


class Counting(Specialist):
    """Votes by a text's length; counts what it was asked, and can be held up."""

    def __init__(self) -> None:
        self.encoding = Verbatim()
        self.asked: Counter[str] = Counter()
        self.go = threading.Event()
        self.go.set()
        self.started = threading.Event()

    def forward(self, batch: list[str]) -> Evidence:
        self.started.set()
        assert self.go.wait(10)
        self.asked.update(batch)
        share = np.array([len(text) / 10 for text in batch], np.float32)
        return Evidence(np.stack([share, 1 - share], axis=1)[:, None], (share[:, None],))


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    made = Batcher(1, 512, 10_000)
    yield made
    made.close()


def test_texts_that_were_asked_before_cost_nothing(batcher: Batcher) -> None:
    member = Counting()
    committee, votes = Committee(LABELS, [("one", member)]), Votes(batcher)
    first = votes.of(KEY, committee, ["aa", "b"], None)
    again = votes.of(KEY, committee, ["b", "ccc", "aa"], 5.0)
    assert member.asked == {"aa": 1, "b": 1, "ccc": 1}
    assert set(again) == {"b", "ccc", "aa"}
    assert first["aa"] == again["aa"]
    np.testing.assert_allclose(Evidence.unpack([again["ccc"]]).votes, [[[0.3, 0.7]]], atol=1e-3)


def test_another_tag_is_asked_again(batcher: Batcher) -> None:
    member = Counting()
    committee, votes = Committee(LABELS, [("one", member)]), Votes(batcher)
    votes.of(KEY, committee, ["aa"], None)
    votes.of(("stage-1-00000000", "c"), committee, ["aa"], None)
    assert member.asked == {"aa": 2}


def test_the_cache_is_bounded(batcher: Batcher) -> None:
    member = Counting()
    committee = Committee(LABELS, [("one", member)])
    one = len(Votes(batcher).of(KEY, committee, ["x"], None)["x"])
    votes = Votes(batcher, cache_bytes=2 * one)
    votes.of(KEY, committee, ["aa", "b", "ccc"], None)
    member.asked.clear()
    votes.of(KEY, committee, ["ccc", "b"], None)
    votes.of(KEY, committee, ["aa"], None)
    assert member.asked == {"aa": 1}
    votes = Votes(batcher, cache_bytes=1)  # nothing fits: it still answers
    assert set(votes.of(KEY, committee, ["aa", "b"], None)) == {"aa", "b"}


def test_an_annotator_does_not_wait_for_a_bulk_request_with_the_same_text(batcher: Batcher) -> None:
    member = Counting()
    committee, votes = Committee(LABELS, [("one", member)]), Votes(batcher)
    member.go.clear()
    texts = [f"{n:0>200}" for n in range(12)]  # two texts a batch, longest and first ones first
    with ThreadPoolExecutor(2) as pool:
        bulk = pool.submit(votes.of, KEY, committee, texts, None)
        assert member.started.wait(10)
        urgent = pool.submit(votes.of, KEY, committee, [texts[-1]], 60.0)
        member.go.set()
        answer = urgent.result(10)
        everything = bulk.result(10)
    assert answer[texts[-1]] == everything[texts[-1]]
    assert member.asked[texts[-1]] == 2
