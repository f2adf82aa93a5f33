"""One case for each alert rule: what Prometheus has scraped when it must fire, and what it says then. All cases begin with
a cluster that is well, in which no rule may fire."""

from dataclasses import dataclass

INTERVAL = 10  # Seconds between two samples.
HOUR = 3600 // INTERVAL


def router(name: str) -> str:
    return f'cluster="c", instance="{name}", job="mishards-router"'


def node(name: str) -> str:
    return f'cluster="c", instance="{name}", job="mishards-node"'


def steady(value: float) -> str:
    return f"{value}+0x{2 * HOUR}"


def growing(each: float) -> str:
    """A counter, or a sequence: by so much more from sample to sample."""
    return f"0+{each}x{2 * HOUR}"


def histogram(name: str, labels: str, fast: float, slow: float = 0) -> dict[str, str]:
    """Observations from sample to sample, up to 0.1 s and up to 10 s."""
    return {
        f'{name}_bucket{{{labels}, le="0.1"}}': growing(fast),
        f'{name}_bucket{{{labels}, le="10"}}': growing(fast + slow),
        f'{name}_bucket{{{labels}, le="+Inf"}}': growing(fast + slow),
        f"{name}_count{{{labels}}}": growing(fast + slow),
    }


def of_router(name: str) -> dict[str, str]:
    labels = router(name)
    found = {
        f"up{{{labels}}}": steady(1),
        f'mishards_router_nodes{{{labels}, role="writable"}}': steady(1),
        f'mishards_router_nodes{{{labels}, role="standby"}}': steady(1),
        f'mishards_router_nodes{{{labels}, role="readonly"}}': steady(3),
        f"mishards_router_nodes_avoided{{{labels}}}": steady(0),
        f"mishards_router_catalog_commit{{{labels}}}": growing(1),
        f"mishards_router_busy_total{{{labels}}}": steady(0),
        f"mishards_router_hedged_subqueries_total{{{labels}}}": growing(1),
        f"mishards_router_subquery_retries_total{{{labels}}}": growing(1),
        # Of the requests' own fault: no reason for an alert.
        f'mishards_router_failures_total{{{labels}, operation="search", code="100"}}': growing(1000),
        f'mishards_router_failures_total{{{labels}, operation="search", code="2"}}': growing(0),
        f'mishards_router_failures_total{{{labels}, operation="insert", code="2"}}': growing(0),
    }
    for operation in ("search", "insert"):
        found |= histogram("mishards_router_request_seconds", f'{labels}, operation="{operation}"', 100)
    return found | histogram("mishards_router_subquery_seconds", labels, 100)


def of_node(name: str, writes: bool, stands_by: bool = False) -> dict[str, str]:
    labels = node(name)
    found = {
        f"up{{{labels}}}": steady(1),
        f"mishards_node_is_writer{{{labels}}}": steady(int(writes)),
        f"mishards_node_is_standby{{{labels}}}": steady(int(stands_by)),
        # A read-only node is told of deletes only.
        f"mishards_node_applied_sequence{{{labels}}}": growing(1000 if writes or stands_by else 1),
        f"mishards_node_lease_renewal_failures_total{{{labels}}}": steady(0),
        # On a standby that has the rows too it means nothing.
        f"mishards_node_growing_bytes{{{labels}}}": steady(1e9 if writes else 2e9),
        f"mishards_node_growing_rows{{{labels}}}": steady(1000),
        f"mishards_node_segments_flushed_total{{{labels}}}": growing(int(writes)),
        f"mishards_node_quarantined_segments{{{labels}}}": steady(0),
        f"mishards_node_incomplete_segments{{{labels}}}": steady(0),
        f"mishards_node_orphan_files{{{labels}}}": steady(0),
    }
    return found | (histogram("mishards_node_log_sync_seconds", labels, 100) if writes else {})


HEALTHY = of_router("r1") | of_router("r2") | of_node("w1", True) | of_node("w2", False, True) | of_node("ro1", False)


@dataclass
class Case:
    alert: str
    series: dict[str, str]  # In place of those of a healthy cluster.
    labels: dict[str, str]  # Of the alert; `cluster` is always "c".
    minutes: int  # When it has been going on for so long, it fires.

    def __post_init__(self) -> None:
        unknown = [name for name in self.series if name not in HEALTHY and "code=" not in name]
        assert not unknown, f"{self.alert}: {unknown} is in no healthy cluster"


def nodes(role: str, values: str, *routers: str) -> dict[str, str]:
    return {f'mishards_router_nodes{{{router(name)}, role="{role}"}}': values for name in routers or ("r1", "r2")}


def failures(operation: str, code: int, each: float) -> dict[str, str]:
    labels = f'{router("r1")}, operation="{operation}", code="{code}"'
    return {f"mishards_router_failures_total{{{labels}}}": growing(each)}


OF_R1 = {"instance": "r1", "job": "mishards-router"}
OF_W1 = {"instance": "w1", "job": "mishards-node"}
OF_W2 = {"instance": "w2", "job": "mishards-node"}
NONE_REACHED = nodes("writable", steady(0), "r1") | nodes("standby", steady(0), "r1") | nodes("readonly", steady(0), "r1")
LOST_AFTER_A_WHILE = f"3+0x{HOUR // 2} 2+0x{HOUR}"

CASES = [
    Case("MishardsRouterDown", {f"up{{{router('r1')}}}": steady(0)}, OF_R1, 1),
    Case("MishardsNodeDown", {f"up{{{node('w1')}}}": steady(0)}, OF_W1, 2),
    Case("MishardsRouterNotReady", NONE_REACHED, OF_R1, 1),
    Case("MishardsRouterNotReady", {f"mishards_router_catalog_commit{{{router('r1')}}}": steady(0)}, OF_R1, 1),
    Case("MishardsNoWriter", nodes("writable", steady(0)), {}, 1),
    Case("MishardsTwoWriters", {f"mishards_node_is_writer{{{node('w2')}}}": steady(1)}, {}, 2),
    Case("MishardsReadOnlyNodeMissing", nodes("readonly", LOST_AFTER_A_WHILE), {}, 35),
    Case("MishardsNoStandby", nodes("standby", steady(0)), {}, 6),
    Case("MishardsStandbyBehind", {f"mishards_node_applied_sequence{{{node('w2')}}}": growing(900)}, OF_W2, 40),
    Case("MishardsRouterSeesFewerNodes", nodes("readonly", steady(2), "r1"), OF_R1 | {"role": "readonly"}, 3),
    Case("MishardsRouterCatalogOld", {f"mishards_router_catalog_commit{{{router('r1')}}}": steady(1)}, OF_R1, 4),
    Case(
        "MishardsLeaseRenewalFails",
        {f"mishards_node_lease_renewal_failures_total{{{node('w1')}}}": growing(1)},
        OF_W1,
        2,
    ),
    Case("MishardsSearchFailures", failures("search", 2, 5), {"operation": "search"}, 10),
    Case("MishardsWriteFailures", failures("insert", 2, 5), {"operation": "insert"}, 10),
    Case(
        "MishardsSlowSearches",
        histogram("mishards_router_request_seconds", f'{router("r1")}, operation="search"', 80, 20),
        {"operation": "search"},
        20,
    ),
    Case("MishardsBusy", {f"mishards_router_busy_total{{{router('r1')}}}": growing(1)}, {}, 10),
    Case("MishardsHedging", {f"mishards_router_hedged_subqueries_total{{{router('r1')}}}": growing(9)}, {}, 15),
    Case("MishardsSubqueryRetries", {f"mishards_router_subquery_retries_total{{{router('r1')}}}": growing(20)}, {}, 10),
    Case("MishardsNodeAvoided", {f"mishards_router_nodes_avoided{{{router('r1')}}}": steady(1)}, OF_R1, 6),
    Case("MishardsGrowingRowsNearLimit", {f"mishards_node_growing_bytes{{{node('w1')}}}": steady(2e9)}, OF_W1, 3),
    Case("MishardsWritesRefused", failures("insert", 8, 1), {}, 3),
    Case("MishardsNothingFlushed", {f"mishards_node_segments_flushed_total{{{node('w1')}}}": steady(7)}, OF_W1, 40),
    Case("MishardsSlowLogSync", histogram("mishards_node_log_sync_seconds", node("w1"), 80, 20), {"instance": "w1"}, 8),
    # Half a minute, and for ten minutes after it.
    Case(
        "MishardsSegmentsQuarantined",
        {f"mishards_node_quarantined_segments{{{node('w1')}}}": f"2+0x3 0+0x{HOUR}"},
        OF_W1,
        8,
    ),
    Case(
        "MishardsSegmentsIncomplete",
        {f"mishards_node_incomplete_segments{{{node('ro1')}}}": f"1+0x3 0+0x{HOUR}"},
        {"instance": "ro1", "job": "mishards-node"},
        8,
    ),
    Case("MishardsForeignFiles", {f"mishards_node_orphan_files{{{node('w1')}}}": steady(3)}, OF_W1, 65),
]


# Nothing had to be flushed so far.
JUST_BEGUN = {f"mishards_node_segments_flushed_total{{{node('w1')}}}": steady(0)}


def quiet(name: str, series: dict[str, str], minutes: int, rules: dict[str, dict]) -> dict:
    """A test in which nothing fires."""
    given = [{"series": name, "values": values} for name, values in (HEALTHY | series).items()]
    none = [{"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": []} for name in rules]
    return {"interval": f"{INTERVAL}s", "name": name, "input_series": given, "alert_rule_test": none}


def unit_test(rules: dict[str, dict], file: str) -> dict:
    """The cases as a file for `promtool test rules`. Annotations are left out of `file`: see the caller."""
    tests = [quiet("a cluster that is well", {}, 90, rules), quiet("one that has just begun", JUST_BEGUN, 9, rules)]
    for case in CASES:
        labels = {"cluster": "c", **case.labels, **rules[case.alert]["labels"]}
        series = [{"series": name, "values": values} for name, values in (HEALTHY | case.series).items()]
        fires = {"eval_time": f"{case.minutes}m", "alertname": case.alert, "exp_alerts": [{"exp_labels": labels}]}
        tests.append({"interval": f"{INTERVAL}s", "name": case.alert, "input_series": series, "alert_rule_test": [fires]})
    return {"rule_files": [file], "evaluation_interval": f"{INTERVAL}s", "tests": tests}
