"""A project's labels changed: which were renamed, and what that means for members and rules.

Label Studio tells the new label config, never what was done to it. A label that went and one that
came are taken for one that was renamed when the project says so (the old name is a synonym of the
new one or the other way round), when they differ in case and punctuation only, or when one alone
took the place of another. Everything else is a label removed and a label added: nothing is guessed.
It knows label sets and committees; no XML, no verdicts, no storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from specialists.errors import SpecialistUnavailable
from specialists.label_map import letters, match
from specialists.registry import EMBEDDED_PREFIX, embedded_labels, is_similarity
from specialists.rule_state import Head, RuleState
from specialists.types import Label, LabelSet, SpecialistRef
from training.model_store import ControlCommittee


@dataclass(frozen=True)
class Change:
    """What became of one control; `before` is the name that it had, empty when it is new.

    `renamed` goes from old names to new ones; `by_place` are those old names of it for which
    nothing but their place speaks.
    """

    control: str
    before: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    by_place: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def compare(before: Mapping[str, LabelSet], now: Mapping[str, LabelSet]) -> dict[str, Change]:
    """What became of each control that there is now, by its name."""
    sources = {name: name for name in now if name in before} | _renamed_controls(before, now)
    return {
        name: _compare(name, sources[name], before[sources[name]], labels)
        if name in sources
        else Change(name, "", added=labels.names)
        for name, labels in now.items()
    }


def _renamed_controls(
    before: Mapping[str, LabelSet], now: Mapping[str, LabelSet]
) -> dict[str, str]:
    """Controls that have another name now: one that went and one alone that came are alike."""
    gone = {name: labels.names for name, labels in before.items() if name not in now}
    came = {name: labels.names for name, labels in now.items() if name not in before}
    return {
        new: old
        for new, names in came.items()
        for old, others in gone.items()
        if names == others and [*came.values()].count(names) == [*gone.values()].count(names) == 1
    }


def _compare(control: str, source: str, before: LabelSet, now: LabelSet) -> Change:
    gone = [label for label in before.labels if label.name not in now.names]
    came = [label for label in now.labels if label.name not in before.names]
    renamed = _declared(gone, came)
    left = [label.name for label in gone if label.name not in renamed]
    new = [label.name for label in came if label.name not in renamed.values()]
    by_place: tuple[str, ...] = ()
    if len(left) == len(new) == 1 and len(before.names) == len(now.names):
        if before.names.index(left[0]) == now.names.index(new[0]):
            by_place, renamed = (left[0],), {**renamed, left[0]: new[0]}
            left, new = [], []
    return Change(control, source, renamed, by_place, tuple(new), tuple(left))


def _declared(gone: Iterable[Label], came: Iterable[Label]) -> dict[str, str]:
    """The renamings that need no guess: one label alone says that it is the other."""
    pairs = [(old.name, new.name) for old in gone for new in came if _same(old, new)]
    olds, news = [old for old, _ in pairs], [new for _, new in pairs]
    return {old: new for old, new in pairs if olds.count(old) == news.count(new) == 1}


def _same(old: Label, new: Label) -> bool:
    spelled = letters(old.name) and letters(old.name) == letters(new.name)
    return bool(spelled) or old.name in new.synonyms or new.name in old.synonyms


def migrate(
    served: Mapping[str, ControlCommittee],
    now: Mapping[str, LabelSet],
    first: Callable[[str], ControlCommittee],
) -> dict[str, ControlCommittee]:
    """The served committees under the labels that there are now; members keep what they learned.

    A renamed label is renamed in their maps; what maps to a removed one stays there, is left out
    of the vote and back when the label is. `first` makes the committee of a control, by its name,
    that has no member left that was taught one of its labels.
    """
    found = {}
    for name, change in compare({n: c.labels for n, c in served.items()}, now).items():
        labels, before = now[name], served.get(change.before)
        members = [_member(ref, labels, change) for ref in before.members] if before else []
        knowing = tuple(ref for ref in members if not ref.label_map or knows(ref, labels))
        taught = not all(is_similarity(ref.source) for ref in knowing)
        found[name] = ControlCommittee(labels, knowing) if taught else first(name)
    return found


def alike(one: Mapping[str, ControlCommittee], other: Mapping[str, ControlCommittee]) -> bool:
    """Whether two sets of committees answer alike: their labels' synonyms may differ.

    Members whose own labels are matched when they are loaded look at synonyms, too.
    """
    if one.keys() != other.keys():
        return False
    return all(
        a.members == (b := other[name]).members
        and (a.labels.names, a.labels.multiple) == (b.labels.names, b.labels.multiple)
        and (a.labels == b.labels or all(ref.label_map for ref in a.members) and bool(a.members))
        for name, a in one.items()
    )


def knows(ref: SpecialistRef, labels: LabelSet) -> set[str]:
    """The project's labels that a member's map reaches."""
    return set(ref.label_map.values()) & set(labels.names)


def _member(ref: SpecialistRef, labels: LabelSet, change: Change) -> SpecialistRef:
    """A member under other labels; for an added one an output without a use may have one now.

    Only for those: what a person left out of a map stays out.
    """
    if not ref.label_map:
        return ref
    label_map = {own: change.renamed.get(name, name) for own, name in ref.label_map.items()}
    unused = _unused(ref, label_map, labels) if change.added else {}
    added = {output: name for output, name in unused.items() if name in change.added}
    return replace(ref, label_map={**added, **label_map})


def _unused(
    ref: SpecialistRef, label_map: Mapping[str, str], labels: LabelSet
) -> Mapping[str, str]:
    """What a member's unmapped outputs mean among the labels that its map does not reach."""
    if not ref.source.startswith(EMBEDDED_PREFIX):
        return {}  # its config lies on the Hub, and this is asked by requests that cannot wait
    try:
        own = embedded_labels(ref.source.removeprefix(EMBEDDED_PREFIX))
    except SpecialistUnavailable:
        return {}
    reached = set(label_map.values())
    return {
        output: name
        for output, name in match(own, labels).items()
        if output not in label_map and name not in reached
    }


def rule(state: RuleState, before: Sequence[str], change: Change, now: Sequence[str]) -> RuleState:
    """What a rule learned, under the labels that there are now.

    A promise was verified for the labels of then: it holds no longer when one was removed. Raises
    ValueError when a label is new: nothing was learned of it, and the rule begins anew.
    """
    names = [change.renamed.get(name, name) for name in before]
    columns = [names.index(name) for name in now]
    confusion = state.confusion[np.ix_(columns, columns)]

    def kept(head: Head) -> Head:
        return replace(head, weights=head.weights[:, columns], offset=head.offset[columns])

    return replace(
        state,
        confusion=confusion / confusion.sum(axis=1, keepdims=True),
        heads=tuple(map(kept, state.heads)),
        live=state.live and replace(state.live, head=kept(state.live.head)),
        accept_above=state.accept_above if len(columns) == len(names) else None,
        scales=None if state.scales is None else state.scales[columns],
    )
