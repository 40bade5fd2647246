"""A committee decides with whoever could be loaded, and never invents an answer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny_models import publish

from specialists.chances import unit
from specialists.committee import Committee
from specialists.decision import PaperRule
from specialists.errors import SpecialistUnavailable
from specialists.evidence import Evidence
from specialists.registry import unmatched
from specialists.rule_state import RuleState
from specialists.transformer import Specialist, Verbatim
from specialists.types import Label, LabelSet, SpecialistRef
from specialists.value_rule import ValueRule

LABELS = LabelSet((Label("negative"), Label("positive")))
MAP = {"NEG": "negative", "POS": "positive"}


class ByWord(Specialist):
    """Votes by whether a word stands in the text."""

    def __init__(self, word: str) -> None:
        self.encoding = Verbatim()
        self.word = word

    def forward(self, texts: Sequence[str]) -> Evidence:
        yes = np.array([self.word in text for text in texts], dtype=np.float32)
        votes = np.stack([0.9 - 0.8 * yes, 0.1 + 0.8 * yes], axis=1)
        return Evidence(votes[:, None], (yes[:, None],))


def committee(*words: str) -> Committee:
    return Committee(LABELS, [(word, ByWord(word)) for word in words])


def test_decisions_come_in_the_order_of_the_texts() -> None:
    found = committee("good", "fine", "good").decide(["good fine", "bad", "good"], PaperRule())
    assert [decision.labels for decision in found] == [("positive",), ("negative",), ("positive",)]
    assert [decision.hard for decision in found] == [False, False, True]
    assert found[2].reason == "2 of 3 say positive; fine says negative"


def test_evidence_has_a_vote_and_a_view_of_each_member() -> None:
    seen = committee("good", "bad").observe(["good", "bad", "so"])
    assert seen.votes.argmax(axis=2).tolist() == [[1, 0], [0, 1], [0, 0]]
    assert [view.tolist() for view in seen.features] == [[[1], [0], [0]], [[0], [1], [0]]]


class Mute(ByWord):
    """Votes like others, gives no features, and fails on some texts."""

    def forward(self, texts: Sequence[str]) -> Evidence:
        if "fail" in texts:
            raise SpecialistUnavailable("generated:1", "its code failed", "wait")
        return Evidence(super().forward(texts).votes)


def test_a_member_that_fails_is_not_heard_and_told_once() -> None:
    asked = Committee(LABELS, [("good", ByWord("good")), ("mute", Mute("bad"))])
    seen = asked.observe(["bad", "good"])
    assert seen.votes.argmax(axis=2).tolist() == [[0, 1], [1, 0]]
    assert [view.tolist() for view in seen.features] == [[[0], [1]]]
    assert asked.new_problems() == []
    for _ in range(2):
        seen = asked.observe(["good fail", "fail"])
        assert np.isnan(seen.votes[:, 1]).all() and np.isfinite(seen.votes[:, 0]).all()
        assert [view.tolist() for view in seen.features] == [[[1], [0]]]
    (problem,) = asked.new_problems()
    assert "its code failed" in problem
    assert asked.new_problems() == []
    decision = asked.decide(["good fail", "fail"], PaperRule())[0]
    assert (decision.labels, decision.hard) == (("positive",), True)
    assert ValueRule(RuleState.first(2, 2)).decide(seen, asked.names, LABELS)[0].labels


@pytest.mark.parametrize("blank", ["", "  ", "\n\t", "\u2003"])
def test_a_text_without_a_word_is_answered_with_nothing(blank: str) -> None:
    found = committee("good", "fine").decide(["good fine", blank], PaperRule())
    assert found[0].labels == ("positive",)
    assert (found[1].labels, found[1].confidence, found[1].hard) == ((), 0.0, False)
    assert found[1].reason == "no usable text"


def test_an_unavailable_member_is_left_out_and_told(tmp_path: Path) -> None:
    refs = [
        SpecialistRef("first", str(publish(tmp_path / "a", ("NEG", "POS"), seed=1)), MAP),
        SpecialistRef("gone", str(tmp_path / "nowhere"), MAP),
        SpecialistRef("second", str(publish(tmp_path / "b", ("NEG", "POS"), seed=1)), MAP),
        SpecialistRef("untrained", str(tmp_path / "a"), MAP, checkpoint="c0ffee"),
    ]
    found = Committee.load(refs, LABELS, {})
    assert found.names == ("first", "second")
    assert len(found.problems) == 2
    assert "nowhere is not available: neither a local model folder nor a Hub" in found.problems[0]
    assert "checkpoint c0ffee is missing" in found.problems[1]
    assert [decision.hard for decision in found.decide(["the film was good"], PaperRule())] == [
        False
    ]


def test_a_committee_without_members_abstains_and_still_sees_the_texts() -> None:
    missing = SpecialistRef("gone", "embedded:no-such", MAP)
    found = Committee.load([missing], LABELS, {})
    assert "no such adapter ships" in found.problems[0]
    for rule in (PaperRule(), ValueRule(RuleState.first(0, 2))):
        decision = found.decide(["good", ""], rule)[0]
        assert (decision.labels, decision.hard) == ((), True)
    seen = found.observe(["good food", "bad food", "the train is late"])
    assert seen.votes.shape == (3, 0, 2)
    assert seen.frozen is not None
    near, far = (float(unit(seen.frozen)[0] @ unit(seen.frozen)[i]) for i in (1, 2))
    assert near > far


def test_several_threads_get_the_decisions_of_one(tmp_path: Path) -> None:
    refs = [
        SpecialistRef(str(n), str(publish(tmp_path / str(n), ("NEG", "POS"), seed=n)), MAP)
        for n in range(2)
    ]
    asked = Committee.load(refs, LABELS, {})
    texts = ["the film was good", "awful food", "so so", "not bad"]
    expected = [(found.labels, found.hard) for found in asked.decide(texts, PaperRule())]
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda given: asked.decide(given, PaperRule()), [texts] * 18):
            assert [(decision.labels, decision.hard) for decision in found] == expected


def test_a_source_without_a_map_is_matched_by_its_own_labels_when_it_is_loaded(
    tmp_path: Path,
) -> None:
    folder = publish(tmp_path / "mine", ["NEG", "POS"])
    stranger = publish(tmp_path / "stranger", ["sport", "politics"])
    refs = [unmatched(str(folder)), unmatched(str(stranger)), unmatched("embedded:nobody")]
    committee = Committee.load(refs, LABELS, {})
    assert committee.names == ("mine",)
    assert np.isfinite(committee.observe(["a text"]).votes).all()
    assert len(committee.problems) == 2
    assert "sport, politics" in committee.problems[0]
    assert "nobody" in committee.problems[1]
