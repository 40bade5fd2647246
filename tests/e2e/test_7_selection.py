"""Story 7: members that a person chose are served everywhere, complete, and taken back."""

from __future__ import annotations

import json
from pathlib import Path

from running_demo import Demo, eventually
from test_1_predictions import counts, served

MEMBERS = ("comments", "implicit")


def test_an_edited_selection_is_served_everywhere_and_taken_back(
    demo: Demo, tmp_path: Path
) -> None:
    project_id = demo.record["projects"]["toxicity"]
    before = served(demo, "toxicity")
    labels = {"toxic": "toxic", "non-toxic": "non-toxic"}
    members = [
        {"name": name, "source": f"embedded:toxicity-{name}", "label_map": labels}
        for name in MEMBERS
    ]
    file = tmp_path / "selection.json"
    chosen = {"project": project_id, "controls": {"toxicity": {"members": members}}}
    file.write_text(json.dumps(chosen))

    printed = demo.command("select", "--project", str(project_id), "--from", str(file), "--yes")
    tag = served(demo, "toxicity")
    assert tag != before and f"{tag} is served" in printed
    committee = demo.wiring.committees.manifest(tag).controls["toxicity"]
    assert tuple(ref.name for ref in committee.members) == MEMBERS
    assert demo.label_studio.project(project_id)["model_version"] == tag
    tasks = set(demo.label_studio.task_ids(project_id))
    eventually(lambda: counts(demo, "toxicity").keys() == tasks, 90, "all tasks predicted")
    assert set(counts(demo, "toxicity").values()) == {1}

    again = demo.command("select", "--project", str(project_id), "--from", str(file), "--yes")
    assert "served already" in again
    demo.command("rollback", "--project", str(project_id), "--to", before)
    assert served(demo, "toxicity") == before
    assert demo.label_studio.project(project_id)["model_version"] == before
