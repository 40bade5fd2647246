"""The table of a selection: every candidate of a control, what was measured, who was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from meta_controller.candidates import Candidate, MapSource
from meta_controller.label_maps import Mapped
from meta_controller.selection import Choice, Finding
from specialists.types import SpecialistRef
from training.card import HeldOutSource

_LABELS_CHARS = 36
_COLUMNS = (
    *("", "id", "params", "downloads", "licence", "labels"),
    *("right", "differs", "errs alike", "why"),
)
"""Of a candidate: how often it is right alone, how often it says something else than the chosen
others, and how far its errors and theirs fall on the same texts (1 always, 0 as chance has it)."""


@dataclass(frozen=True)
class Row:
    """One candidate: what was told of it, what was measured, and why it was chosen or not."""

    name: str
    source: str
    origin: str
    checkpoint: str | None
    label_map: Mapping[str, str]
    mapped_by: MapSource
    better_map: Mapping[str, str]
    parameters: int | None
    downloads: int | None
    licence: str
    labels: tuple[str, ...]
    accuracy: float | None
    disagreement: float | None
    error_correlation: float | None
    gain: float | None
    confidence: float
    chosen: bool
    why: str
    reason: str

    @property
    def ref(self) -> SpecialistRef:
        """The member that this candidate would be."""
        return SpecialistRef(self.name, self.source, self.label_map, self.checkpoint)


@dataclass(frozen=True)
class Table:
    """The candidates of one control, the chosen ones first, in the order of their admission.

    `accuracy` is the chosen members' on the sample, `expected` cross-validated, `served` the served
    members'; `as_published` says that what those learned in stages was left aside.
    """

    control: str
    rests_on: str
    rows: tuple[Row, ...]
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    texts: int = 0
    source: HeldOutSource = "none"
    as_published: bool = False
    accuracy: float | None = None
    expected: float | None = None
    served: float | None = None

    @property
    def members(self) -> tuple[SpecialistRef, ...]:
        """The chosen members."""
        return tuple(row.ref for row in self.rows if row.chosen)

    def to_json(self) -> dict[str, Any]:
        """A plain JSON form: the file's, with all that was measured."""
        rows = [asdict(row) for row in self.rows]
        return {
            **{k: v for k, v in asdict(self).items() if k != "rows"},
            "members": [row for row in rows if row["chosen"]],
            "left_out": [row for row in rows if not row["chosen"]],
        }


def row(name: str, one: Candidate, mapped: Mapped, finding: Finding, reason: str) -> Row:
    """Join what is known of a candidate."""
    measured = {k: v for k, v in asdict(finding).items() if k != "name"}
    told = {k: getattr(one, k) for k in ("parameters", "downloads", "licence", "labels")}
    return Row(
        name=name,
        source=one.source,
        origin=one.origin,
        checkpoint=one.checkpoint,
        label_map=mapped.label_map,
        mapped_by=mapped.mapped_by,
        better_map=mapped.better,
        reason=reason,
        **told,
        **measured,
    )


def ordered(rows: Sequence[Row], choice: Choice) -> tuple[Row, ...]:
    """The chosen in the order of admission, then the others, the most accurate first."""
    place = {name: number for number, name in enumerate(choice.members)}
    return tuple(
        sorted(rows, key=lambda one: (place.get(one.name, len(place)), -(one.accuracy or 0.0)))
    )


def render(table: Table) -> list[str]:
    """The table as people read it."""
    cells = [_COLUMNS, *(_cells(one) for one in table.rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(_COLUMNS) - 1)]
    lines = [f"Control {table.control}: {table.rests_on}"]
    for line in cells:
        shown = [text.ljust(width) for text, width in zip(line, widths, strict=False)]
        lines.append("  ".join([*shown, line[-1]]).rstrip())
    for one in table.rows:
        lines += _maps(one)
    lines += [f"{name} could not be measured: {why}" for name, why in table.unmeasured.items()]
    return [_printable(line) for line in (*lines, *_sum_up(table))]


def _printable(line: str) -> str:
    """What strangers named and an LLM said must not steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _cells(one: Row) -> tuple[str, ...]:
    parameters = "?" if one.parameters is None else f"{one.parameters / 1e6:,.1f} M"
    shown = one.source.partition("@")[0] if one.origin == "hub" else one.source
    told = f"{one.why}; LLM: {one.reason}" if one.reason else one.why
    return (
        "*" if one.chosen else "",
        f"{shown} (trained)" if one.checkpoint else shown,
        parameters,
        "-" if one.downloads is None else f"{one.downloads:,}",
        one.licence or "-",
        _short(",".join(one.labels)),
        _percent(one.accuracy),
        _percent(one.disagreement),
        "-" if one.error_correlation is None else f"{one.error_correlation:.2f}",
        told,
    )


def _maps(one: Row) -> list[str]:
    """The map that is or would be used, and the one that agrees better with the verdicts."""
    lines = []
    if one.label_map and (one.chosen or one.mapped_by != "rules"):
        lines.append(f"  {one.name}: labels mapped by {one.mapped_by}: {_arrows(one.label_map)}")
    if one.better_map:
        lines.append(
            f"  {one.name}: agrees better with the verdicts as {_arrows(one.better_map)}; to use "
            "that, put it into the file"
        )
    return lines


def _sum_up(table: Table) -> list[str]:
    if table.accuracy is None:
        return []
    lines = [
        f"Together the chosen (*) are right on {table.accuracy:.1%} of the {table.texts} texts"
        + ("." if table.expected is None else f"; expect {table.expected:.1%} (cross-validated).")
    ]
    if table.served is not None:
        lines.append(f"The served members are right on {table.served:.1%} of them.")
    return lines


def _short(text: str) -> str:
    return text if len(text) <= _LABELS_CHARS else f"{text[: _LABELS_CHARS - 3]}..."


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _arrows(label_map: Mapping[str, str]) -> str:
    return ", ".join(f"{own} -> {label}" for own, label in label_map.items())
