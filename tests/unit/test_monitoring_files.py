"""The Grafana dashboard, the scrape example and the alert rules: valid, and complete."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
from monitoring import alerts, dashboard, dashboard_expressions, parse, rules, scrape

PANELS = [one for one in dashboard()["panels"] if one["type"] != "row"]
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("expression", [*dashboard_expressions(), *alerts()])
def test_every_expression_is_promql(expression: str) -> None:
    parse(expression)


def test_a_wrong_expression_is_found() -> None:
    with pytest.raises(ValueError):
        parse("sum by (le) (rate(x[5m])")


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_a_panel_asks_the_chosen_data_source_and_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["datasource"] == DATA_SOURCE
    assert panel["description"].endswith(".")
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == DATA_SOURCE
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= {
            *parse(target["expr"]).grouping,
            "instance",
        }
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_the_data_source_is_a_variable() -> None:
    variables = {one["name"]: one for one in dashboard()["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["project"]["datasource"] == DATA_SOURCE
    assert variables["project"]["includeAll"]


def test_panels_have_a_place_of_their_own_in_24_columns() -> None:
    every = dashboard()["panels"]
    assert len({one["id"] for one in every}) == len(every)
    places = [one["gridPos"] for one in every]
    assert all(0 <= place["x"] <= place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart or above, (one, other)


def test_an_alert_says_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 7
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert used <= {*parse(rule["expr"]).grouping, "instance"}, rule["alert"]


def test_the_scrape_example_reads_the_rules_and_asks_for_metrics_with_basic_auth() -> None:
    (job,) = scrape()["scrape_configs"]
    assert scrape()["rule_files"] == ["alerts.yml"]
    assert job["metrics_path"] == "/metrics"
    assert set(job["basic_auth"]) == {"username", "password_file"}
    named = re.findall(r'job="(\w+)"', str([*alerts(), *dashboard_expressions()]))
    assert set(named) == {job["job_name"]}
