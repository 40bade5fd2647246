"""The promise: when it is verified, what is accepted meanwhile, and what it says of itself."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.promise import KINDS, judge, simulate, summary
from training.errors import TrainingError
from training.intervals import evidence_below
from training.promise import ACCEPT_NOTHING, CONFIDENCE, Promise, certify, first_needed

Array = npt.NDArray[np.float64]

FIRST = first_needed(0.05)
STAIRS = np.linspace(0.8, 1.0, 1001)

confidences = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.9, 0.97, 0.99, 1.0])), max_size=120
)


def audits(n: int, errors: int, low: float = 0.8) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Audits spread over the confidences; the least sure are wrong."""
    return np.linspace(low, 1.0, n, dtype=np.float64), np.arange(n) >= errors


def test_as_many_right_answers_as_needed_verify_and_one_fewer_does_not() -> None:
    assert evidence_below(0, FIRST, 0.05) >= 10 > evidence_below(0, FIRST - 1, 0.05)
    enough, few = (certify(STAIRS, *audits(n, 0), 0.05) for n in (FIRST, FIRST - 1))
    assert enough.verified
    assert (enough.accept_above, enough.accepted_share, enough.needed) == (0.8, 1.0, 0)
    assert (enough.audits, enough.errors) == (FIRST, 0)
    assert not few.verified
    assert few.needed


def test_a_stricter_target_needs_more_audits() -> None:
    needed = [first_needed(target) for target in (0.3, 0.1, 0.05, 0.01, 0.001)]
    assert needed == sorted(needed)
    assert first_needed(0.05, 0.99) > first_needed(0.05, 0.9) == 59


def test_errors_among_the_less_sure_raise_the_threshold_above_them() -> None:
    found = certify(STAIRS, *audits(200, 40), 0.05)
    assert found.verified
    assert 0.8 + 0.2 * 30 / 200 < found.accept_above < 0.9
    assert found.accepted_share == pytest.approx((1.0 - found.accept_above) / 0.2, abs=0.01)
    assert evidence_below(found.errors, found.audits, 0.05) >= 1 / (1 - CONFIDENCE)


def test_without_audits_the_committee_is_believed_and_nothing_is_verified() -> None:
    found = certify(STAIRS, [], [], 0.05)
    assert not found.verified
    accepted = STAIRS[found.accept_above <= STAIRS]
    assert 0.04 < (1 - accepted).mean() <= 0.05
    assert found.needed == math.ceil(FIRST / found.accepted_share)


def test_audits_that_deny_the_committees_confidence_narrow_what_is_accepted() -> None:
    believed = certify(STAIRS, [], [], 0.05)
    denied = certify(STAIRS, *audits(40, 30), 0.05)
    assert not denied.verified
    assert denied.accept_above > believed.accept_above
    assert denied.errors <= 0.05 * denied.audits


def test_wrong_labels_among_the_surest_accept_nothing() -> None:
    sure = np.full(100, 0.99)
    found = certify(np.full(500, 0.99), sure, np.arange(100) >= 20, 0.05)
    assert found == Promise(0.05, CONFIDENCE, ACCEPT_NOTHING, False, 100, 20, None, 0.0)
    assert "20 of 100" in found.sentence()
    assert "nothing is accepted" in found.sentence()


def test_what_was_tested_and_failed_is_not_stretched_beyond_the_surest() -> None:
    population = np.linspace(0.95, 1.0, 1001)
    asked, right = audits(3 * FIRST, 0, low=0.95)
    assert certify(population, asked, right, 0.05).accept_above == 0.95
    right[-1] = False  # too many errors to verify the surest third, too few to refute it
    found = certify(population, asked, right, 0.05)
    assert (found.verified, found.errors) == (False, 1)
    assert found.accepted_share == pytest.approx(1 / 3, abs=0.02)
    right[-4:] = False
    refuted = certify(population, asked, right, 0.05)
    assert (refuted.accept_above, refuted.needed) == (ACCEPT_NOTHING, None)


def test_an_unsure_committee_is_verified_by_its_audits() -> None:
    doubtful = np.full(500, 0.6)
    assert certify(doubtful, [], [], 0.05).accepted_share == 0.0
    found = certify(doubtful, np.full(FIRST, 0.6), np.ones(FIRST, bool), 0.05)
    assert (found.verified, found.accept_above, found.accepted_share) == (True, 0.6, 1.0)


@given(confidences, st.data(), st.sampled_from([0.05, 0.2, 0.4]))
def test_a_right_answer_that_becomes_wrong_never_lowers_the_threshold(
    population: list[float], data: st.DataObject, target: float
) -> None:
    asked = data.draw(st.lists(st.sampled_from(population), max_size=120)) if population else []
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    right = rng.random(len(asked)) < rng.uniform(0.5, 1.0)
    worse = right & (rng.random(len(asked)) < rng.uniform(0.5, 1.0))
    before = certify(population, asked, right, target)
    after = certify(population, asked, worse, target)
    assert after.accept_above >= before.accept_above
    assert before.verified or not after.verified


@given(confidences, st.integers(0, 300), st.sampled_from([0.01, 0.05, 0.3]))
def test_every_population_gets_a_coherent_promise(
    population: list[float], count: int, target: float
) -> None:
    asked = np.resize(population, count) if population else np.zeros(0)
    found = certify(population, asked, np.arange(len(asked)) % 7 > 0, target)
    values = np.array(population)
    if population:
        assert found.accepted_share == (values >= found.accept_above).mean()
    assert (found.needed == 0) == found.verified
    if found.verified:
        assert found.audits == (asked >= found.accept_above).sum()
        assert evidence_below(found.errors, found.audits, target) >= 1 / (1 - CONFIDENCE)
    assert found.sentence().endswith(".")


@pytest.mark.parametrize("population", [[], [0.99], [0.99, 0.2], [0.7] * 30])
def test_a_few_texts_or_equal_ones_are_no_trouble(population: list[float]) -> None:
    found = certify(population, population, np.ones(len(population), bool), 0.05)
    assert not found.verified
    assert found.accepted_share == pytest.approx(
        np.mean([value == 0.99 for value in population]) if population else 0.0
    )


def test_more_answers_are_needed_whenever_it_is_not_verified() -> None:
    # Sure of one task in twenty only, and that rightly; the others are wrong and many.
    population = np.repeat([0.99, 0.6], [500, 9500])
    asked = np.repeat([0.99, 0.6], [100, 1900])
    found = certify(population, asked, asked > 0.9, 0.05)
    assert (found.verified, found.accept_above, found.needed) == (True, 0.99, 0)
    failed = certify(population, asked, (asked > 0.9) & (np.arange(2000) > 2), 0.05)
    assert not failed.verified
    assert failed.needed


def test_ties_are_accepted_or_refused_together() -> None:
    population = np.repeat([0.99, 0.9], 500)
    found = certify(population, *audits(FIRST, 0, low=0.99), 0.05)
    assert found.verified
    assert (found.accept_above, found.accepted_share) in [(0.99, 0.5), (0.9, 1.0)]


def test_the_sentences_name_the_figures() -> None:
    verified = Promise(0.05, 0.9, 0.87, True, 63, 1, 0, 0.714)
    assert verified.sentence() == (
        "At most 5 % of the accepted labels wrong, with 90 % confidence: "
        "verified on 63 audits (1 wrong); accepts 71.4 % of the tasks."
    )
    waiting = Promise(0.05, 0.9, 0.87, False, 28, 0, 31, 0.5)
    assert "not verified, about 31 more audited answers needed" in waiting.sentence()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 5.0, math.nan])
def test_a_share_that_cannot_be_is_refused_with_its_value(share: float) -> None:
    with pytest.raises(TrainingError, match=f"target is {share}.*between 0 and 1"):
        certify([0.9], [], [], share)
    with pytest.raises(TrainingError, match=f"confidence is {share}.*between 0 and 1"):
        certify([0.9], [], [], 0.05, share)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_a_confidence_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(TrainingError, match="population"):
        certify([0.9, bad], [], [], 0.05)
    with pytest.raises(TrainingError, match="audited"):
        certify([0.9], [bad], [True], 0.05)


def test_an_answer_without_its_audit_is_refused() -> None:
    with pytest.raises(TrainingError, match="2 answers for 1 audits"):
        certify([0.9], [0.9], [True, False], 0.05)


def test_the_promise_holds_over_simulated_projects_and_is_not_empty() -> None:
    figures = summary([judge(simulate(number, 1, 0.1), 0.1) for number in range(8 * len(KINDS))])
    assert figures["violation_share_ever"] <= figures["allowed"]
    assert figures["verified_share"] > 0.25
    assert figures["accepted_share"] > 0.4
    assert figures["naive_violation_share"] > figures["allowed"]
