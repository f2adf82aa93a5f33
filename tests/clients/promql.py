"""What the alert rules and the dashboard of `deploy/` name: metrics, labels, values. And what a process shows of them."""

import json
import re
from dataclasses import dataclass, field

from samples import DEPLOY, documents

ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "mishards.json"
SCRAPING = DEPLOY / "prometheus" / "prometheus.yml"
# What Prometheus itself gives to each series of a target.
OF_TARGETS = {"job", "instance", "cluster"}

NAME = r"\b(mishards_\w+|up(?=[\s{]))"
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def alerts() -> dict[str, dict]:
    """All alert rules by name."""
    (file,) = documents(ALERTS)
    rules = [rule for group in file["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules), "a name stands there twice"
    return {rule["alert"]: rule for rule in rules}


def panels() -> list[dict]:
    return json.loads(DASHBOARD.read_text())["panels"]


@dataclass
class Query:
    """An expression, where it stands, and the labels that its text shows."""

    where: str
    expr: str
    shown: set[str] = field(default_factory=set)

    @property
    def metrics(self) -> set[str]:
        return set(re.findall(NAME, self.expr))

    @property
    def selectors(self) -> list[tuple[str, dict[str, str]]]:
        """Each metric with its matchers."""
        found = re.findall(NAME + r"(?:\s*\{([^}]*)\})?", self.expr)
        return [(metric, dict(MATCHER.findall(matchers))) for metric, matchers in found]

    @property
    def grouped_by(self) -> set[str]:
        names = (name.strip() for labels in GROUPING.findall(self.expr) for name in labels.split(","))
        return {name for name in names if name}


def queries() -> list[Query]:
    """All expressions of the rules and of the dashboard."""
    found = []
    for name, rule in alerts().items():
        shown = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        found.append(Query(name, rule["expr"], shown))
    for panel in panels():
        for target in panel.get("targets", []):
            shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"]))
            found.append(Query(panel["title"], target["expr"], shown))
    return found


def plain(expr: str) -> str:
    """An expression of the dashboard as Grafana would send it, for all clusters."""
    return expr.replace("$cluster", ".*").replace("$__rate_interval", "1m")


def exposed(text: str) -> dict[str, dict[str, set[str]]]:
    """A page of /metrics: the label names of each sample name, with their values."""
    found: dict[str, dict[str, set[str]]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()
            values = found.setdefault(name, {})
            for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""):
                values.setdefault(label, set()).add(value)
    return found
