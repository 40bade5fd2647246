"""The demo's projects: their labeling interfaces and the answer key that ships with us."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from backend.demo.errors import DemoError

_DATA = Path(__file__).parent / "data"

_CONFIG = """<View>
  <Text name="text" value="$text"/>
  <Choices name="{name}" toName="text" choice="single" showInline="true">
{choices}
  </Choices>
  <Header value="Why this answer" size="6"/>
  <TextArea name="rationale" toName="text" editable="false" maxSubmissions="1"/>
</View>"""


@dataclass(frozen=True)
class DemoProject:
    """One project of the demo: its title, control and answer key."""

    name: str
    title: str
    control: str
    labels: tuple[str, ...]

    @property
    def label_config(self) -> str:
        """Its labeling interface."""
        choices = "\n".join(f'    <Choice value="{label}"/>' for label in self.labels)
        return _CONFIG.format(name=self.control, choices=choices)

    def key(self, role: str) -> list[dict[str, str]]:
        """Rows of the answer key: role `task` or `held_out`."""
        rows = (
            json.loads(line)
            for line in (_DATA / f"{self.name}.jsonl").read_text("utf-8").splitlines()
        )
        return [row for row in rows if row["role"] == role]


PROJECTS = (
    DemoProject("sentiment", "Sentiment (demo)", "sentiment", ("positive", "neutral", "negative")),
    DemoProject("toxicity", "Toxicity (demo)", "toxicity", ("toxic", "non-toxic")),
)


def named(name: str) -> DemoProject:
    """The project of that name.

    Raises:
        DemoError: There is none.
    """
    for one in PROJECTS:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in PROJECTS)
    raise DemoError(f"The demo has no project {name!r}; choose one of {names}.")
