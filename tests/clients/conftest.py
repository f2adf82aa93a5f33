"""Fixtures of the client tests: the servers under test, a client, and names that clean up after themselves."""

import logging
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import CONNECT_WITHIN, HERE, Cluster, Deployment, Server
from pymilvus import MilvusClient

sys.path.insert(0, str(HERE.parent / "servers"))
from servers import Mariadb  # noqa: E402

DEPLOYMENTS = {"standalone": Server, "cluster": Cluster}

# pymilvus logs each error that it raises; here most of them are expected.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", choices=[*DEPLOYMENTS, "both"], default="both", help="what to test (default: both)")


def selected(config: pytest.Config) -> list[str]:
    target = config.getoption("--target")
    return list(DEPLOYMENTS) if target == "both" else [target]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", selected(metafunc.config), indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests that need a target which is not selected."""
    wanted = set(selected(config))
    needed = {item: {name for mark in item.iter_markers("targets") for name in mark.args} for item in items}
    config.hook.pytest_deselected(items=[item for item in items if not needed[item] <= wanted])
    items[:] = [item for item in items if needed[item] <= wanted]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """A failed test shows what its servers logged last."""
    report = yield
    if report.failed:
        seen = {id(value): value for value in item.funcargs.values() if isinstance(value, Deployment)}
        report.sections += [("server logs", deployment.logs()) for deployment in seen.values()]
    return report


def running(deployment: Deployment) -> Iterator[Deployment]:
    """Starts it, lends it out and stops it; a stop that is not orderly is an error of the last test."""
    deployment.start()
    yield deployment
    deployment.stop()


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from running(Server(tmp_path_factory.mktemp("standalone")))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    yield from running(Cluster(tmp_path_factory.mktemp("cluster")))


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Deployment:
    return request.getfixturevalue(request.param)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A standalone server of this test alone, which may stop, kill and start it."""
    server = Server(tmp_path)
    server.start()
    yield server
    server.end()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of this test alone, which may kill and start its processes."""
    cluster = Cluster(tmp_path)
    cluster.start()
    yield cluster
    cluster.end()


@pytest.fixture
def database() -> Iterator[Mariadb]:
    """A database server with an empty database for a cluster."""
    server = Mariadb()
    server.start()
    server.sql("create database mishards character set utf8mb4")
    yield server
    server.close()


@pytest.fixture
def client(server: Deployment) -> Iterator[MilvusClient]:
    server.check_alive()
    client = MilvusClient(server.uri, timeout=CONNECT_WITHIN)
    yield client
    client.close()
    server.check_alive()


@pytest.fixture
def name(request: pytest.FixtureRequest, client: MilvusClient) -> Iterator[str]:
    """A collection name that nobody has; collections whose names begin with it are dropped afterwards."""
    test = re.sub(r"\W+", "_", request.node.originalname)
    unique = f"{test}_{uuid.uuid4().hex[:8]}"
    yield unique
    for collection in client.list_collections(timeout=CONNECT_WITHIN):
        if collection.startswith(unique):
            drop(client, collection)


def drop(client: MilvusClient, collection: str) -> None:
    for alias in client.list_aliases(collection)["aliases"]:
        client.drop_alias(alias)
    client.drop_collection(collection)
