"""The files in deploy/ that watch the backend, and what their expressions ask for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
_GRAFANAS = {"$__rate_interval": "1m"}


@dataclass(frozen=True)
class Asked:
    """What an expression asks: (metric, labels it matches), and the labels that it groups by."""

    metrics: tuple[tuple[str, frozenset[str]], ...]
    grouping: frozenset[str]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana/autoannotator.json").read_text())
    return loaded


def dashboard_expressions() -> list[str]:
    return [t["expr"] for panel in dashboard()["panels"] for t in panel.get("targets", ())]


def scrape() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    return loaded


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[str]:
    return [rule["expr"] for rule in rules()]


def parse(expression: str) -> Asked:
    """Read an expression; raises ValueError for one that is no PromQL."""
    for variable, value in _GRAFANAS.items():
        expression = expression.replace(variable, value)
    metrics: list[tuple[str, frozenset[str]]] = []
    grouping: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            labels = frozenset(one.name for one in node.matchers.matchers)
            metrics.append((node.name, labels))
        if isinstance(node, promql_parser.MatrixSelector):
            visit(node.vector_selector)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            grouping.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return Asked(tuple(metrics), frozenset(grouping))
