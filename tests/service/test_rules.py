"""Decision rules on a real Redis: who decides, and what it learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from backend.projects import Project, Projects
from backend.rules import Rules
from backend.settings import Settings
from specialists.decision import PaperRule
from specialists.rule_state import RuleState
from specialists.types import Label, LabelSet
from specialists.value_rule import ValueRule

LABELS = LabelSet((Label("good"), Label("bad")))
MULTIPLE = LabelSet(LABELS.labels, multiple=True)


def rules_of(redis: Redis, **environ: str) -> Rules:
    return Rules(redis, Settings.from_env(environ), Projects(redis))


@pytest.fixture
def rules(redis: Redis) -> Rules:
    return rules_of(redis)


def learned(verdicts: int, members: int = 3) -> RuleState:
    return RuleState(np.full(members, 0.5), np.eye(2), verdicts=verdicts)


def save(redis: Redis, rules: Rules, tag: str, state: RuleState, control: str = "mood") -> None:
    with redis.pipeline() as pipe:
        rules.save(7, control, tag, state, pipe)
        assert rules.state(7, control, tag) is None, "not before the pipeline runs"
        pipe.execute()


def verdicts_of(rules: Rules, tag: str = "t1", members: int = 3, project_id: int = 7) -> int:
    rule = rules.rule(project_id, "mood", tag, LABELS, members)
    assert isinstance(rule, ValueRule)
    return rule.state.verdicts


def test_what_was_learned_decides_at_its_tag_only(redis: Redis, rules: Rules) -> None:
    assert verdicts_of(rules) == 0
    save(redis, rules, "t1", learned(40))
    save(redis, rules, "t2", learned(50))
    assert (verdicts_of(rules, "t1"), verdicts_of(rules, "t2"), verdicts_of(rules, "t3")) == (
        40,
        50,
        0,
    )
    assert verdicts_of(rules, project_id=8) == 0
    assert verdicts_of(rules_of(redis), "t1") == 40, "other processes see it"


def test_a_refit_shows_at_the_next_request(redis: Redis, rules: Rules) -> None:
    for number in range(1, 200):  # more than are kept parsed
        with redis.pipeline() as pipe:
            rules.save(7, "mood", "t1", learned(number), pipe)
            pipe.execute()
        assert verdicts_of(rules) == number


def test_a_state_is_parsed_once(redis: Redis, rules: Rules) -> None:
    save(redis, rules, "t1", learned(40))
    assert rules.state(7, "mood", "t1") is rules.state(7, "mood", "t1")


def test_other_members_or_labels_than_it_learned_about_start_anew(
    redis: Redis, rules: Rules
) -> None:
    save(redis, rules, "t1", learned(40))
    assert verdicts_of(rules, members=2) == 0
    three = LabelSet((*LABELS.labels, Label("neutral")))
    rule = rules.rule(7, "mood", "t1", three, 3)
    assert isinstance(rule, ValueRule) and rule.state.confusion.shape == (3, 3)


def test_the_paper_s_rule_by_setting_by_project_and_for_several_labels(redis: Redis) -> None:
    value, paper = rules_of(redis), rules_of(redis, DECISION_RULE="paper")
    projects = Projects(redis)
    projects.put(Project(1))
    projects.put(Project(2, rule="paper"))
    projects.put(Project(3, rule="value"))

    def names(rules: Rules) -> list[str]:
        made = [rules.rule(n, "mood", "t1", LABELS, 3) for n in (1, 2, 3, 4)]
        first = [rules.first(n, LABELS, 3) for n in (1, 2, 3, 4)]
        assert [type(one) for one in made] == [type(one) for one in first]
        return ["paper" if isinstance(one, PaperRule) else "value" for one in made]

    assert names(value) == ["value", "paper", "value", "value"]
    assert names(paper) == ["paper", "paper", "value", "paper"]
    assert isinstance(value.rule(3, "mood", "t1", MULTIPLE, 3), PaperRule)
    assert isinstance(value.first(3, MULTIPLE, 3), PaperRule)


@pytest.mark.parametrize("raw", ["{half", "[]", "{}", '{"heads": 1}'])
def test_a_damaged_state_starts_anew(redis: Redis, rules: Rules, raw: str) -> None:
    redis.hset("aa:project:7:rule:mood", "t1", raw)
    assert verdicts_of(rules) == 0


def test_tags_that_are_not_kept_are_forgotten(redis: Redis, rules: Rules) -> None:
    for tag in ("t1", "t2"):
        save(redis, rules, tag, learned(40))
        save(redis, rules, tag, learned(40), control="tone")
    rules.prune(7, ["mood", "tone"], ["t2"])
    kept = {name: redis.hkeys(name) for name in redis.scan_iter("aa:project:7:rule:*")}
    assert kept == {"aa:project:7:rule:mood": ["t2"], "aa:project:7:rule:tone": ["t2"]}


@pytest.mark.parametrize(("setting", "kind"), [("value", ValueRule), ("paper", PaperRule)])
def test_without_redis_the_rule_decides_as_before_any_verdict(
    tmp_path: Path, setting: str, kind: type
) -> None:
    with Redis(unix_socket_path=str(tmp_path / "nobody")) as gone:
        rules = rules_of(gone, DECISION_RULE=setting)
        assert isinstance(rules.rule(7, "mood", "t1", LABELS, 3), kind)
        assert isinstance(rules.first(7, LABELS, 3), kind)
