"""Intervals and sequential evidence: known values, coverage, and counts that cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from training.errors import TrainingError
from training.intervals import evidence_below, newcombe, prediction_powered, wilson

counts = st.integers(0, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
shares = st.floats(0.01, 0.99)


def test_the_interval_is_wilsons() -> None:
    # Newcombe, Statistics in Medicine 1998, table I, method 3: 81 of 263, 15 of 148, 1 of 29.
    for count, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)):
        assert wilson(count, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # Newcombe, Statistics in Medicine 1998, table II, method 10.
    for counts, low, high in (((56, 70, 48, 80), 0.0524, 0.3339), ((9, 10, 3, 10), 0.1705, 0.8090)):
        assert newcombe(*counts)[1:] == pytest.approx((low, high), abs=5e-5)
    assert newcombe(10, 10, 0, 20) == pytest.approx((1.0, 0.6791, 1.0), abs=5e-5)
    with pytest.raises(TrainingError, match="cannot be compared"):
        newcombe(1, 2, 0, 0)


@pytest.mark.parametrize("skill", [0.95, 0.5])
@pytest.mark.parametrize(("n", "others"), [(40, 40), (100, 300)])
def test_an_llm_makes_the_interval_narrower_and_not_wrong(
    n: int, others: int, skill: float
) -> None:
    """Also an LLM that is right as often as not, or whose answers lean to one side."""
    held, narrower, found = 0, 0.0, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        right = rng.random(n + others) < 0.9
        said = np.where(rng.random(n + others) < skill, right, rng.random(n + others) < 0.2)
        pairs = [(bool(r), bool(s)) for r, s in zip(right[:n], said[:n], strict=True)]
        share, low, high = prediction_powered(pairs, (int(said[n:].sum()), others))
        held += low <= 0.9 <= high
        alone = wilson(int(right[:n].sum()), n)
        narrower += (alone[1] - alone[0]) - (high - low)
        found.append(share)
    print(f"{n} and {others}, skill {skill}: {held / 2:.0f} of 100 hold the truth")
    assert held >= 180
    assert np.mean(found) == pytest.approx(0.9, abs=0.01)
    assert narrower / 200 > (0.01 if skill > 0.9 else -0.001)


def test_without_other_answers_of_the_llm_it_is_wilsons_interval() -> None:
    pairs = [(True, True)] * 9 + [(False, True)]
    share, *interval = prediction_powered(pairs, (0, 0))
    assert share == 0.9
    assert interval == pytest.approx(wilson(9, 10), abs=1e-6)
    assert prediction_powered([(True, True)] * 5, (3, 3))[0] == 1.0
    with pytest.raises(TrainingError, match="1 answer or more"):
        prediction_powered([], (3, 3))


def test_an_interval_holds_what_was_seen_and_shrinks_with_more_of_it() -> None:
    assert wilson(0, 20)[0] == 0.0
    assert wilson(20, 20)[1] == 1.0
    (low, high), (lower, higher) = wilson(90, 100), wilson(9, 10)
    assert lower < low < 0.9 < high < higher


@given(counts, shares)
def test_an_error_speaks_against_a_low_rate_and_a_right_answer_for_it(
    seen: tuple[int, int], rate: float
) -> None:
    errors, n = seen
    now = evidence_below(errors, n, rate)
    assert evidence_below(errors + 1, n + 1, rate) <= now * (1 + 1e-9)
    assert evidence_below(errors, n + 1, rate) >= now * (1 - 1e-9)


@given(counts, shares, shares)
def test_no_true_rate_above_the_tested_one_lets_the_evidence_grow_on_average(
    seen: tuple[int, int], rate: float, other: float
) -> None:
    errors, n = seen
    tested, true = min(rate, other), max(rate, other)
    now = evidence_below(errors, n, tested)
    assume(now > 0)  # with nearly all of many wrong it is rounded down to nothing
    wrong, right = evidence_below(errors + 1, n + 1, tested), evidence_below(errors, n + 1, tested)
    assert true * wrong + (1 - true) * right <= now * (1 + 1e-6)


def test_nothing_seen_says_nothing_and_much_seen_stays_a_number() -> None:
    assert evidence_below(0, 0, 0.05) == pytest.approx(1.0)
    assert evidence_below(500, 500, 0.05) == pytest.approx(0.0)
    assert math.isfinite(evidence_below(0, 10_000_000, 0.5))


def test_looking_after_every_sample_misleads_no_more_often_than_stated() -> None:
    rate, runs, samples = 0.05, 400, 600
    wrong = np.random.default_rng(1).random((runs, samples)) < rate
    errors = wrong.cumsum(axis=1)
    # At a given number of samples the evidence passes up to some number of errors.
    passes = [
        max((e for e in range(60) if e <= n and evidence_below(e, n, rate) >= 10), default=-1)
        for n in range(1, samples + 1)
    ]
    misled = (errors <= np.array(passes)).any(axis=1).mean()
    assert 0.01 < misled <= 0.1


@pytest.mark.parametrize("function", [wilson, evidence_below])
@pytest.mark.parametrize(
    ("count", "n", "share", "shown"),
    [
        (3, 2, 0.9, "3 of 2"),
        (-1, 2, 0.9, "-1 of 2"),
        (0, -1, 0.9, "0 of -1"),
        (1, 2, 0.0, "0.0"),
        (1, 2, 1.0, "1.0"),
        (1, 2, math.nan, "nan"),
    ],
)
def test_what_cannot_be_is_refused(
    function: object, count: int, n: int, share: float, shown: str
) -> None:
    assert callable(function)
    with pytest.raises(TrainingError, match=shown):
        function(count, n, share)
