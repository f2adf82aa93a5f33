"""The alert rules and the dashboard of `deploy/`: real Prometheus loads the rules, they fire when they must and only then,
and every metric, label and value that is named is there on the ops ports of a cluster that has had something to do."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import promql
import pytest
import yaml
from alert_cases import CASES, unit_test
from harness import CONNECT_WITHIN, HERE, Cluster, MysqlCluster, Process
from pymilvus import AnnSearchRequest, MilvusClient, MilvusException, RRFRanker
from samples import DEPLOY, ROOT, documents
from tables import FLAT_L2, KEY, NUMBER, create, insert, random_vectors, rows_of, vector

sys.path.insert(0, str(HERE.parent / "servers"))
from server import fetch  # noqa: E402
from servers import Mariadb, Prometheus  # noqa: E402

pytestmark = pytest.mark.timeout(240)
needs_prometheus = pytest.mark.skipif(not Prometheus.available(), reason=f"Prometheus: {Prometheus.why_not()}")
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool here (Debian: prometheus)")

DIM = 8
SHOWN_WITHIN = 60
GRID_COLUMNS = 24


def promtool(*arguments: str, folder: Path) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"promtool {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


# --- the files by themselves ---------------------------------------------------------------------------------------


@needs_promtool
def test_promtool_accepts_configuration_and_rules():
    said = promtool("check", "config", "prometheus.yml", folder=DEPLOY / "prometheus")
    assert f"{len(promql.alerts())} rules found" in said


@needs_promtool
def test_each_alert_fires_when_it_must(tmp_path):
    """Each has a case, in which it fires; in a cluster that is well none does."""
    rules = promql.alerts()
    assert {case.alert for case in CASES} == rules.keys()
    (file,) = documents(promql.ALERTS)
    for group in file["groups"]:
        for rule in group["rules"]:
            # promtool would want their text in each case. Its check of the rules has read their templates.
            del rule["annotations"]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(file))
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(unit_test(rules, "alerts.yml")))
    promtool("test", "rules", "cases.yml", folder=tmp_path)


def test_each_alert_tells_what_it_knows():
    """The thing, the figure, the next step; and no label that the alert does not have."""
    shown = {query.where: query.shown for query in promql.queries()}
    for name, rule in promql.alerts().items():
        assert set(rule["annotations"]) == {"summary", "description"}, name
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), name
        assert "$value" in rule["annotations"]["description"], f"{name}: no figure"
        assert "cluster" in shown[name], f"{name}: which cluster?"
        for case in (case for case in CASES if case.alert == name):
            unknown = shown[name] - {"cluster", *case.labels}
            assert not unknown, f"{name}: it has no label {unknown}"


def test_the_dashboard_is_laid_out():
    dashboard = json.loads(promql.DASHBOARD.read_text())
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource", "cluster"}
    ids, taken = [], set()
    for panel in dashboard["panels"]:
        ids.append(panel["id"])
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < GRID_COLUMNS, f"{panel['title']} lies over another panel"
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
            used = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__rate_interval"}
            assert used == {"cluster"}, f"{panel['title']}: {used}"
    assert len(set(ids)) == len(ids)
    assert len({panel["title"] for panel in dashboard["panels"]}) > 20


# --- with a cluster ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A writable node, its standby, two read-only nodes and two routers, after one request of each kind."""
    database = Mariadb()
    database.start()
    database.sql("create database mishards character set utf8mb4")
    cluster = MysqlCluster(tmp_path_factory.mktemp("watched"), f"{database.url}/mishards")
    try:
        cluster.start()
        use(cluster)
        yield cluster
    finally:
        cluster.end()
        database.close()


def use(cluster: MysqlCluster) -> None:
    """Each operation that rules and dashboard name, and some that are refused."""
    for number, uri in enumerate(cluster.uris):
        client, name = MilvusClient(uri, timeout=CONNECT_WITHIN), f"table_{number}"
        fields = {"id": KEY, "n": NUMBER, "vec": vector(DIM), "other": vector(DIM)}
        create(client, name, fields, {"vec": FLAT_L2, "other": FLAT_L2})
        vectors = random_vectors(200, DIM, seed=number)
        rows = [{**row, "other": row["vec"]} for row in rows_of(vectors, n=lambda key: key)]
        insert(client, name, rows[:100])
        client.flush(name)
        client.upsert(name, rows[50:])
        client.delete(name, ids=[1])
        query = vectors[7].tolist()
        assert len(client.search(name, data=[query], anns_field="vec", limit=5)[0]) == 5
        both = [AnnSearchRequest([query], field, {"metric_type": "L2"}, 5) for field in ("vec", "other")]
        assert len(client.hybrid_search(name, both, RRFRanker(), limit=5)[0]) == 5
        assert client.query(name, filter="id < 10", output_fields=["n"])
        for refused in (
            lambda: client.search("no_such_collection", data=[query], limit=1),
            lambda: client.insert("no_such_collection", rows[:1]),
        ):
            with pytest.raises(MilvusException):
                refused()
        client.close()


@pytest.mark.targets("cluster")
def test_every_metric_and_label_exists(watched):
    """Names, labels and values that rules and dashboard name are those of the ops ports."""
    pages = {name: promql.exposed(process.ops("/metrics")) for name, process in watched.processes.items()}
    there: dict[str, dict[str, set[str]]] = {"up": {}}
    for page in pages.values():
        for metric, labels in page.items():
            known = there.setdefault(metric, {})
            for label, values in labels.items():
                known.setdefault(label, set()).update(values)
    queries = promql.queries()
    missing = {metric: query.where for query in queries for metric in query.metrics if metric not in there}
    assert not missing, f"there is no such metric: {missing}"
    for query in queries:
        of_metrics = {label for metric in query.metrics for label in there[metric]} | promql.OF_TARGETS
        unknown = (query.grouped_by | query.shown) - of_metrics
        assert not unknown, f"{query.where}: no metric of it has the label {unknown}"
        for metric, matchers in query.selectors:
            for label, value in matchers.items():
                if label not in promql.OF_TARGETS:
                    assert label in there[metric], f"{query.where}: {metric} has no label {label}"
                    unknown = set(value.split("|")) - values_of(label, there)
                    assert not unknown, f"{query.where}: {label} is never {unknown}"


def values_of(label: str, there: dict[str, dict[str, set[str]]]) -> set[str]:
    """Its values on any metric: not every operation fails here in every way. Of codes the source says which there are."""
    if label == "code":
        source = (ROOT / "crates" / "types" / "src" / "error.rs").read_text()
        return set(re.findall(r"Code = Code\((\d+)\)", source))
    return {value for labels in there.values() for value in labels.get(label, ())}


@pytest.mark.targets("cluster")
def test_a_router_that_reaches_no_node_says_so(tmp_path):
    """With zeros: an alert on a series that is not there never fires."""
    router = Cluster(tmp_path).processes["router"]
    router.start()
    try:
        expected = {f'mishards_router_nodes{{role="{role}"}} 0' for role in ("readonly", "standby", "writable")}
        expected.add("mishards_router_catalog_commit 0")
        wait("zeros", lambda: expected - set(metrics_of(router).splitlines()))
        assert not router.is_ready()
    finally:
        router.end()


def metrics_of(process: Process) -> str:
    try:
        return process.ops("/metrics")
    except OSError:  # It does not listen yet.
        return ""


@pytest.fixture(scope="module")
def prometheus(watched):
    """Prometheus with the files of `deploy/`, on the ops ports of this cluster and in a hurry."""
    (config,) = documents(promql.SCRAPING)
    nodes = [f"127.0.0.1:{watched.ops_ports[name]}" for name in watched.ROLES]
    routers = [f"127.0.0.1:{watched.ops_ports[name]}" for name in watched.ROUTERS]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job, targets in zip(config["scrape_configs"], (routers, nodes), strict=True):
        job["static_configs"][0]["targets"] = targets
    server = Prometheus(yaml.safe_dump(config))
    (server.folder / "alerts.yml").write_text(promql.ALERTS.read_text())
    with server:
        yield server


def ask(prometheus: Prometheus, path: str, **parameters: str) -> dict:
    answer = json.loads(fetch(f"{prometheus.url}/api/v1/{path}?{urlencode(parameters)}"))
    assert answer["status"] == "success", answer
    return answer["data"]


def wait(what: str, holds) -> None:
    """Until it holds; `holds` answers what is still missing."""
    deadline = time.monotonic() + SHOWN_WITHIN
    while missing := holds():
        assert time.monotonic() < deadline, f"{what}: {missing}"
        time.sleep(0.5)


@needs_prometheus
@pytest.mark.targets("cluster")
def test_prometheus_loads_the_rules_and_nothing_fires(prometheus, watched):
    def not_up() -> list[str]:
        up = [each["scrapeUrl"] for each in ask(prometheus, "targets")["activeTargets"] if each["health"] == "up"]
        return [name for name, port in watched.ops_ports.items() if f"http://127.0.0.1:{port}/metrics" not in up]

    wait("processes that are not scraped", not_up)
    scraped = max(second_of(each["lastScrape"]) for each in ask(prometheus, "targets")["activeTargets"])

    def not_well() -> dict[str, str]:
        rules = [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]
        assert {rule["name"] for rule in rules} == promql.alerts().keys()
        return {
            rule["name"]: f"{rule['health']} {rule.get('lastError', '')}, {rule['state']}"
            for rule in rules
            if rule["health"] != "ok" or rule["state"] != "inactive" or second_of(rule["lastEvaluation"]) <= scraped
        }

    wait("rules that fail, or fire in a cluster that is well", not_well)


def second_of(timestamp: str) -> str:
    """Of one and the same Prometheus, these texts have an order."""
    return timestamp[:19]


@needs_prometheus
@pytest.mark.targets("cluster")
def test_every_panel_of_the_dashboard_shows_something(prometheus):
    asked = [query for query in promql.queries() if query.where not in promql.alerts()]
    assert len(asked) > 30

    def empty() -> list[str]:
        found = []
        for query in asked:
            series = ask(prometheus, "query", query=promql.plain(query.expr))["result"]
            lacking = [each for each in series if not query.shown <= each["metric"].keys()]
            assert not lacking, f"{query.where}: no label {query.shown} in {lacking[0]['metric']}"
            found += [] if series else [f"{query.where}: {query.expr}"]
        return found

    wait("panels without a series", empty)
