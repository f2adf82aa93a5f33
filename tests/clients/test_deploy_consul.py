"""The samples of `deploy/consul` with a real Consul that allows nothing without a token: the policies suffice for nodes and
routers, and give no more than they say."""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from harness import CONNECT_WITHIN, HERE, Cluster
from pymilvus import MilvusClient
from samples import DEPLOY
from tables import FLAT_L2, KEY, create, insert, random_vectors, rows_of, vector, wait_for

sys.path.insert(0, str(HERE.parent / "servers"))
from servers import Consul  # noqa: E402

FOLDER = DEPLOY / "consul"
DIM = 8
LEADER_WITHIN = 30

pytestmark = [
    pytest.mark.targets("cluster"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(not Consul.available(), reason=f"Consul: {Consul.why_not()}"),
]


class GuardedConsul(Consul):
    """An agent with the settings of the sample, and the first token, which may do everything."""

    first_token = ""

    def command(self) -> list[str]:
        # The development mode keeps nothing; tokens, which the sample wants to be kept, need a place.
        return [*super().command(), "-config-file", str(FOLDER / "agent.hcl"), "-data-dir", str(self.folder / "data")]

    def is_ready(self) -> bool:
        return bool(self.call("GET", "/v1/status/leader"))

    def call(self, method: str, path: str, body: object = None, token: str = "") -> object:
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        request.data = None if body is None else json.dumps(body).encode()
        request.add_header("X-Consul-Token", token)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            text = answer.read().decode()
        return json.loads(text) if text else None

    def bootstrap(self) -> None:
        """As the comments of the samples say, over HTTP."""
        deadline = time.monotonic() + LEADER_WITHIN
        while not self.first_token:
            try:
                self.first_token = self.call("PUT", "/v1/acl/bootstrap")["SecretID"]
            except urllib.error.HTTPError as error:  # "The ACL system is currently in legacy mode", for a moment.
                assert time.monotonic() < deadline, error.read().decode()
                time.sleep(0.2)
        self.call("PUT", "/v1/agent/token/agent", {"Token": self.token("agent")}, self.first_token)

    def token(self, policy: str) -> str:
        """A new token with the policy of that file."""
        rules = (FOLDER / f"{policy}-policy.hcl").read_text()
        self.call("PUT", "/v1/acl/policy", {"Name": policy, "Rules": rules}, self.first_token)
        body = {"Policies": [{"Name": policy}]}
        return self.call("PUT", "/v1/acl/token", body, self.first_token)["SecretID"]


class ConsulCluster(Cluster):
    """Nodes and router with the environment of the sample, but for the agent's address and the secrets."""

    def __init__(self, folder: Path, consul: GuardedConsul) -> None:
        self.consul = consul
        self.tokens = {"node": consul.token("node"), "router": consul.token("router")}
        super().__init__(folder)

    def settings(self, name: str) -> dict[str, dict]:
        settings = super().settings(name)
        lines = [line for line in (FOLDER / "environment").read_text().splitlines() if line and not line.startswith("#")]
        given = dict(line.removeprefix("MISHARDS__DISCOVERY__").lower().split("=", 1) for line in lines)
        assert given.keys() >= {"plugin", "address", "token"}
        token = self.tokens["node" if name in self.ROLES else "router"]
        settings["discovery"] = given | {"address": self.consul.url, "token": token}
        return settings


@pytest.fixture
def consul():
    with GuardedConsul() as server:
        server.bootstrap()
        yield server


@pytest.fixture
def guarded(consul, tmp_path):
    cluster = ConsulCluster(tmp_path, consul)
    cluster.start()
    yield cluster
    cluster.end()


def test_the_policies_suffice(guarded, consul):
    client = MilvusClient(guarded.uri, timeout=CONNECT_WITHIN)
    create(client, "table", {"id": KEY, "vec": vector(DIM)}, {"vec": FLAT_L2})
    vectors = random_vectors(100, DIM, seed=1)
    insert(client, "table", rows_of(vectors))
    assert len(client.search("table", data=[vectors[3].tolist()], limit=5)[0]) == 5
    client.close()
    everybody = {f"mishards-{name}" for name in guarded.ROLES}
    wait_for("all register", lambda: healthy(consul, guarded.tokens["router"]) == everybody)
    guarded.processes["ro1"].stop()  # Takes its registration back, which needs a right as well.
    assert healthy(consul, guarded.tokens["router"]) == everybody - {"mishards-ro1"}
    text = "\n".join(process.log.read_text() for process in guarded.processes.values())
    assert "Permission denied" not in text, guarded.logs()


def healthy(consul: GuardedConsul, token: str) -> set[str]:
    found = consul.call("GET", "/v1/health/service/mishards?passing=1", token=token)
    return {entry["Service"]["ID"] for entry in found}


def test_routers_and_strangers_cannot_register(guarded, consul):
    stranger = {"ID": "mishards-x", "Name": "mishards", "Address": "127.0.0.1", "Port": 1}
    other = stranger | {"ID": "other", "Name": "other"}
    for what, token in ((stranger, guarded.tokens["router"]), (stranger, ""), (other, guarded.tokens["node"])):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            consul.call("PUT", "/v1/agent/service/register", what, token)
        assert refusal.value.code == 403
    assert healthy(consul, "") == set()
