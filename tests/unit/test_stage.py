"""A stage: what it trains on, what it goes on from, and when its committee passes.

The learner of most tests is real but tiny: it remembers which label goes with a text's first word,
and as published answers "good" to everything. `test_stage_learning.py` runs the real fine-tuning.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdicts import LABELS, by_control, texts, verdict

from specialists.errors import SpecialistUnavailable
from specialists.types import Decision, LabelSet, SpecialistRef, Verdict
from training.course import FineTune
from training.curriculum import Curriculum
from training.errors import NothingToTrain, TrainingError
from training.fine_tune import Example
from training.gate import held_out
from training.model_store import CommitteeManifest, ControlCommittee, ModelStore
from training.params import FineTuneParams
from training.plan import plan
from training.slice import HeldOut, member
from training.stage import Evaluate, StageInput, StageResult, run_stage

PARAMS = FineTuneParams(seed=1)


def manifest(*controls: str, members: int = 3) -> CommitteeManifest:
    refs = tuple(SpecialistRef(f"m{n}", "embedded:x", {"a": "good"}) for n in range(members))
    committee = ControlCommittee(LABELS, refs)
    return CommitteeManifest(7, 2, None, {name: committee for name in controls or ("sentiment",)})


def learn(
    ref: SpecialistRef,
    labels: LabelSet,
    folder: Path | None,
    examples: Sequence[Example],
    out: Path,
    params: FineTuneParams,
    progress: Callable[[float, float], None],
    held_out: Sequence[Example],
) -> None:
    """Remember the last label seen with each first word, on top of what `folder` remembers."""
    known = json.loads((folder / "known.json").read_text()) if folder else {}
    progress(0.5, 1.0)
    known |= {example.text.split()[0]: example.labels for example in examples}
    (out / "known.json").write_text(json.dumps({"": ref.name, **known}))
    progress(1.0, 0.5)


class World:
    """A store and everything a stage told its caller."""

    def __init__(self, root: Path) -> None:
        self.store = ModelStore(root)
        self.finished: dict[str, str] = {}
        self.progress: list[tuple[str, float, float]] = []

    def evaluate(
        self, manifest: CommitteeManifest, control: str, texts: Sequence[str]
    ) -> list[Decision]:
        """The first member's answers; a member as published says "good"."""
        folders = self.store.folders(manifest, control)
        known = json.loads((folders["m0"] / "known.json").read_text()) if folders else {}
        answers = [tuple(known.get(text.split()[0], ("good",))) for text in texts]
        return [Decision(labels, 1.0, False, "all agree") for labels in answers]

    def run(
        self,
        fresh: Sequence[Verdict],
        earlier: Sequence[Verdict] = (),
        served: CommitteeManifest | None = None,
        fine_tune: FineTune = learn,
        evaluate: Evaluate | None = None,
        done: dict[str, str] | None = None,
    ) -> StageResult:
        return run_stage(
            StageInput(
                served or manifest(),
                by_control(fresh),
                by_control(earlier),
                PARAMS,
                seed=1,
                done=done or {},
            ),
            self.store,
            fine_tune,
            evaluate or self.evaluate,
            lambda key, share, loss: self.progress.append((key, share, loss)),
            self.finished.__setitem__,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# What is trained on.

VERDICTS = st.builds(
    verdict,
    text=st.text(alphabet="aA \nbé", max_size=4),
    label=st.sampled_from(["good", "bad", "gone"]),
    source=st.sampled_from(["human", "llm"]),
    at=st.floats(0, 9),
    task_id=st.integers(0, 3),
)


@given(st.lists(VERDICTS), st.lists(VERDICTS), st.randoms())
def test_a_plan_never_trains_on_a_held_out_text_nor_twice_on_one(
    fresh: list[Verdict], earlier: list[Verdict], random: object
) -> None:
    found = plan(LABELS, fresh, earlier, "seed")
    trained = [example.text for example in found.examples]
    assert not any(held_out(text) for text in trained)
    assert all(held_out(each.text) for each in found.held_out)
    keys = [" ".join(text.casefold().split()) for text in trained]
    assert len(set(keys)) == len(keys)
    assert all(set(example.labels) <= {"good", "bad"} for example in found.examples)
    assert found.samples.total() == len(trained)
    assert found == plan(LABELS, fresh[::-1], earlier[::-1], "seed") or ties(fresh + earlier)


def ties(verdicts: list[Verdict]) -> bool:
    """Whether two verdicts are of one rank, so that their order decides."""
    ranks = [
        (each.text.casefold().split(), each.source, each.at, each.task_id) for each in verdicts
    ]
    return any(ranks.count(rank) > 1 for rank in ranks)


def test_a_persons_verdict_outranks_the_llms_and_a_later_one_an_earlier() -> None:
    one, two = texts(held=False, count=2)
    fresh = [
        verdict(one, "bad", "human", at=1),
        verdict(one.upper(), "good", "llm", at=2, task_id=1),
        verdict(two, "good", "llm", at=1),
        verdict(two, "bad", "llm", at=2, task_id=1),
    ]
    examples = {
        (each.text, each.labels, each.weight) for each in plan(LABELS, fresh, (), "").examples
    }
    assert examples == {(one, ("bad",), 1.0), (two, ("bad",), 0.7)}


def test_replay_is_balanced_and_at_most_three_times_the_fresh() -> None:
    fresh = [verdict(text) for text in texts(False, 30, "new")]
    common = [verdict(text, "good", "llm") for text in texts(False, 400, "old")]
    rare = [verdict(text, "bad", "llm") for text in texts(False, 20, "rare")]
    found = plan(LABELS, fresh, common + rare, "seed")
    replayed = Counter(each.labels for each in found.examples if not each.text.startswith("new"))
    assert replayed == {("good",): 70, ("bad",): 20}
    assert found.samples == Counter(human=30, replay=90)


@pytest.mark.parametrize(("earlier", "replayed"), [(10, 10), (200, 50)])
def test_a_small_pool_replays_fifty_where_there_are_as_many(earlier: int, replayed: int) -> None:
    rows = [verdict(text) for text in texts(False, earlier, "old")]
    found = plan(LABELS, [verdict(text) for text in texts(False, 2)], rows, "seed")
    assert found.samples["replay"] == replayed


def test_the_replay_sample_depends_on_the_seed_alone() -> None:
    fresh = [verdict(text) for text in texts(False, 2)]
    earlier = [verdict(text) for text in texts(False, 200, "old")]
    first = plan(LABELS, fresh, earlier, "1")
    assert first == plan(LABELS, fresh, earlier[::-1], "1")
    assert first != plan(LABELS, fresh, earlier, "2")


def test_several_labels_are_an_answer_only_where_a_text_may_carry_them() -> None:
    fresh = [verdict(texts(False, 1)[0], ("good", "bad"))]
    assert plan(LABELS, fresh, (), "").dropped == 1
    assert len(plan(replace(LABELS, multiple=True), fresh, (), "").examples) == 1


# One stage.


def test_a_stage_makes_the_next_version_of_every_member(world: World) -> None:
    served = manifest()
    result = world.run([verdict(text, "bad") for text in texts(False, 3)], served=served)
    assert result.manifest.stage == 3
    assert result.manifest.parent == served.tag
    assert world.store.committee(result.tag) == result.manifest
    assert set(world.finished) == {"sentiment/m0", "sentiment/m1", "sentiment/m2"}
    assert set(world.finished.values()) == set(result.manifest.checkpoints)
    shares = [share for _, share, _ in world.progress]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_a_later_stage_goes_on_from_the_served_checkpoint(world: World) -> None:
    first = world.run([verdict(text, "bad") for text in texts(False, 3, "old")])
    second = world.run(
        [verdict(text, "bad") for text in texts(False, 3, "new")], served=first.manifest
    )
    answers = world.evaluate(second.manifest, "sentiment", ["old thing", "new thing"])
    assert [answer.labels for answer in answers] == [("bad",), ("bad",)]
    assert second.manifest.parent == first.tag


def test_the_served_committee_is_asked_about_texts_where_the_curriculum_wants_to_know(
    world: World,
) -> None:
    fresh, others = texts(False, 3), texts(False, 5, "other")
    asked: list[tuple[str, Sequence[str]]] = []

    def evaluate(of: CommitteeManifest, control: str, about: Sequence[str]) -> list[Decision]:
        asked.append((of.tag, about))
        return world.evaluate(of, control, about)

    served = manifest()
    given = StageInput(
        served,
        by_control([verdict(text, "bad") for text in fresh]),
        {},
        PARAMS,
        1,
        curriculum=Curriculum(agreed=1.0),
        texts={"sentiment": others},
    )
    result = run_stage(
        given, world.store, learn, evaluate, lambda *_: None, world.finished.__setitem__
    )
    assert asked == [(served.tag, others)]
    assert result.card.samples["agreed"] == 3


def test_a_stage_that_would_be_served_worse_is_refused_though_its_members_are_not(
    world: World,
) -> None:
    held, fresh = texts(True, 8, "other"), texts(False, 3)
    served = manifest()

    def serve(of: CommitteeManifest, control: str, about: Sequence[str]) -> list[Decision]:
        """The served committee's rule has learned to answer well, the new one's has not."""
        label = ("good",) if of.tag == served.tag else ("bad",)
        return [Decision(label, 1.0, False, "") for _ in about]

    verdicts = [*(verdict(text, "bad") for text in fresh), *(verdict(text) for text in held)]
    given = StageInput(served, by_control(verdicts), {}, PARAMS, 1)
    asks = (learn, world.evaluate, lambda *_: None, world.finished.__setitem__)
    assert run_stage(given, world.store, *asks).judgement.passed
    result = run_stage(given, world.store, *asks, serve)
    assert result.card.decision == "refused"
    assert "As it would be served, with its rule, it is worse: 0 of 8" in result.card.reason


def test_a_control_with_nothing_to_train_keeps_its_members(world: World) -> None:
    served = manifest("sentiment", "topic")
    fresh = [verdict(text, "bad") for text in texts(False, 3)]
    fresh += [verdict(text, "bad", control="topic") for text in texts(True, 3)]
    result = world.run(fresh, served=served)
    assert result.manifest.controls["topic"] == served.controls["topic"]
    assert result.manifest.controls["sentiment"] != served.controls["sentiment"]


def test_a_pool_without_an_example_is_refused_with_the_reason(world: World) -> None:
    fresh = [verdict(text) for text in texts(True, 3)]
    fresh += [verdict(text, "gone") for text in texts(False, 2)]
    fresh += [verdict(text, control="removed") for text in texts(False, 4)]
    earlier = [verdict(text) for text in texts(False, 9, "old")]
    with pytest.raises(NothingToTrain, match=r"3 are held out .* 6 do not fit"):
        world.run(fresh, earlier)
    assert world.finished == {}


def test_verdicts_that_no_longer_fit_are_dropped_and_counted(world: World) -> None:
    fresh = [verdict(text, "bad", "llm") for text in texts(False, 3)]
    fresh += [verdict(texts(False, 1, "odd")[0], "gone"), verdict("  ", "good")]
    fresh += [verdict("any", control="removed")]
    result = world.run(fresh)
    assert result.card.dropped == 3
    assert result.card.samples == {"human": 0, "llm": 3, "replay": 0, "agreed": 0}


def test_a_killed_stage_goes_on_from_its_finished_members(world: World) -> None:
    fresh = [verdict(text, "bad") for text in texts(False, 3)]
    whole = world.run(fresh)
    done = {"sentiment/m1": world.finished["sentiment/m1"]}
    trained: list[str] = []

    def watched(ref: SpecialistRef, *rest: object) -> None:
        trained.append(ref.name)
        learn(ref, *rest)  # type: ignore[arg-type]

    assert world.run(fresh, fine_tune=watched, done=done).tag == whole.tag
    assert trained == ["m0", "m2"]


def test_a_finished_member_whose_checkpoint_is_gone_is_trained_again(world: World) -> None:
    fresh = [verdict(text, "bad") for text in texts(False, 3)]
    whole = world.run(fresh)
    assert world.run(fresh, done={"sentiment/m1": "0" * 16}).tag == whole.tag


def test_a_failing_member_keeps_what_was_finished_before(world: World) -> None:
    def failing(ref: SpecialistRef, *rest: object) -> None:
        if ref.name == "m1":
            raise OSError("the driver failed")
        learn(ref, *rest)  # type: ignore[arg-type]

    with pytest.raises(OSError, match="the driver failed"):
        world.run([verdict(text) for text in texts(False, 3)], fine_tune=failing)
    assert set(world.finished) == {"sentiment/m0"}
    assert world.store.open(world.finished["sentiment/m0"]).is_dir()


def test_a_member_that_is_not_available_stays_as_it_is_and_is_named(world: World) -> None:
    def partly(ref: SpecialistRef, *rest: object) -> None:
        if ref.name == "m1":
            raise SpecialistUnavailable("hub/m1", "the Hub does not answer", "try again")
        learn(ref, *rest)  # type: ignore[arg-type]

    served = manifest()
    result = world.run([verdict(text) for text in texts(False, 3)], served=served, fine_tune=partly)
    before, after = served.controls["sentiment"].members, result.manifest.controls["sentiment"]
    assert after.members[1] == before[1]
    assert len(result.manifest.checkpoints) == 2
    assert result.card.reason.endswith("not available: sentiment/m1.")


@pytest.mark.parametrize("source", ["generated:0123456789abcdef", "embedded:similarity"])
def test_who_cannot_be_trained_stays_as_it_is(world: World, source: str) -> None:
    fresh = [verdict(text) for text in texts(False, 8)]
    served = manifest()
    code = SpecialistRef("code", source, {})
    (control,) = served.controls.values()
    mixed = replace(control, members=(*control.members, code))
    result = world.run(fresh, served=replace(served, controls={"sentiment": mixed}))
    *others, last = result.manifest.controls["sentiment"].members
    assert last == code
    assert all(member.checkpoint for member in others)
    assert "Not trained" not in result.card.reason
    alone = replace(served, controls={"sentiment": replace(control, members=(code,))})
    with pytest.raises(NothingToTrain, match="generated code"):
        world.run(fresh, served=alone)


def test_a_stage_without_any_available_member_fails(world: World) -> None:
    def unavailable(ref: SpecialistRef, *rest: object) -> None:
        raise SpecialistUnavailable(ref.source, "the Hub does not answer", "try again")

    with pytest.raises(SpecialistUnavailable, match="the Hub does not answer"):
        world.run([verdict(text) for text in texts(False, 3)], fine_tune=unavailable)


# The gate.


def test_a_committee_that_learned_is_promoted_with_its_numbers(world: World) -> None:
    fresh = [verdict(text, "bad") for text in texts(False, 3)]
    earlier = [verdict(text, "bad") for text in texts(True, 6)]
    card = world.run(fresh, earlier).card
    assert (card.decision, card.before, card.after) == ("promoted", 0.0, 1.0)
    assert (card.held_out, card.held_out_source) == (6, "human")
    assert (card.method, card.stage) == (PARAMS.method, 3)
    assert card.reason.startswith("Promoted: 6 of 6 held-out human verdicts")


def test_a_committee_that_learned_wrong_answers_is_refused(world: World) -> None:
    wrong = [verdict(text, "bad", "llm") for text in texts(False, 3)]
    right = [verdict(text, "good", "human") for text in texts(True, 5)]
    result = world.run(wrong, right)
    assert not result.judgement.passed
    assert (result.card.decision, result.card.before, result.card.after) == ("refused", 1.0, 0.0)
    assert world.store.committee(result.tag) == result.manifest


@pytest.mark.parametrize(
    ("people", "llm", "source", "count"),
    [(5, 9, "human", 5), (4, 9, "llm", 9), (4, 0, "none", 0), (0, 0, "none", 0)],
)
def test_people_judge_where_they_are_enough_then_the_llm_then_nobody(
    world: World, people: int, llm: int, source: str, count: int
) -> None:
    fresh = [verdict(text, "bad") for text in texts(False, 3)]
    fresh += [verdict(text, "bad", "human") for text in texts(True, people, "person")]
    fresh += [verdict(text, "bad", "llm") for text in texts(True, llm, "model")]
    card = world.run(fresh).card
    assert (card.held_out_source, card.held_out) == (source, count)
    assert (card.before is None) == (count == 0)
    words = {
        "human": "with them 0 of 14 right, 0 before",
        "llm": f"of people there are {people} held-out ones, 5 are needed",
        "none": "Promoted unmeasured: no held-out verdicts.",
    }
    assert words[source] in card.reason


@pytest.mark.parametrize(("people", "decision"), [(49, "refused"), (50, "promoted")])
def test_with_many_of_people_s_verdicts_the_llm_is_not_heard(
    world: World, people: int, decision: str
) -> None:
    """People answered what the LLM gets wrong by habit."""
    fresh = [verdict(text, "bad") for text in texts(False, 3)]
    fresh += [verdict(text, "bad", "human") for text in texts(True, people, "person")]
    fresh += [verdict(text, "good", "llm") for text in texts(True, 90, "model")]
    fresh += [verdict(text, "bad") for text in texts(False, 3, "model")]
    fresh += [verdict(text, "bad") for text in texts(False, 3, "person")]
    card = world.run(fresh).card
    assert (card.decision, card.held_out_source) == (decision, "human")


def test_what_the_slice_holds_out_beside_the_hash_measures_and_is_not_trained_on(
    world: World,
) -> None:
    taken, *others = texts(False, 8)
    given = StageInput(
        manifest(),
        by_control([verdict(text, "bad") for text in [taken, *others]]),
        {},
        PARAMS,
        seed=1,
        held_out=HeldOut(frozenset({member("sentiment", taken)})),
    )
    plan_ = plan(LABELS, given.fresh["sentiment"], (), "", lambda text: text == taken)
    assert [v.text for v in plan_.held_out] == [taken]
    assert {e.text for e in plan_.examples} == set(others)
    told = run_stage(given, world.store, learn, world.evaluate, lambda *_: None, lambda *_: None)
    assert told.card.samples["human"] == 7


def test_controls_are_judged_together(world: World) -> None:
    def rows(control: str, label: str, held: int) -> list[Verdict]:
        trained = [verdict(text, "bad", control=control) for text in texts(False, 3)]
        measured = [verdict(text, label, control=control) for text in texts(True, held)]
        return trained + measured

    fresh = rows("sentiment", "bad", 4) + rows("topic", "good", 3)
    judgement = world.run(fresh, served=manifest("sentiment", "topic")).judgement
    assert judgement.passed
    assert (judgement.n, judgement.before, judgement.after) == (7, 3 / 7, 4 / 7)


def test_a_lost_answer_of_the_committee_is_an_error(world: World) -> None:
    fresh = [verdict(text) for text in [*texts(False, 3), *texts(True, 5)]]
    with pytest.raises(TrainingError, match="asked for 5 decisions, got 4"):
        world.run(fresh, evaluate=lambda *asked: world.evaluate(*asked)[1:])
