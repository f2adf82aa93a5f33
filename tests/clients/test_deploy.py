"""The samples in `deploy/` that `mishards/tests/deploy.rs` does not look at: Compose files and Kubernetes manifests,
compared with the program and with themselves."""

import json
import re
import urllib.error
from pathlib import Path

import pytest
from samples import COMPOSE, DEPLOY, DOCKERFILE, ROOT, Manifests, bind_mounts, compose_container, dockerfile, documents
from samples import named_volumes, of_our_image, paths, port_of, stop_seconds

SPARE_SECONDS = 5  # Between the longest end of a process and the kill.
ALL = documents(DEPLOY / "docker" / "cluster.yml")[0]["services"]


def test_yaml_and_json_can_be_read():
    files = [file for file in DEPLOY.rglob("*") if file.suffix in (".yml", ".yaml", ".json")]
    for file in files:
        read = [json.loads(file.read_text())] if file.suffix == ".json" else documents(file)
        assert read and all(isinstance(document, dict) for document in read), file
    assert len(files) > 15


# --- Docker and Compose --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_compose_starts_what_the_program_has(file, tmp_path):
    (compose,) = documents(file)
    ours = of_our_image(compose["services"])
    assert ours
    for name, service in ours.items():
        container = compose_container(name, service)
        container.check_start(tmp_path)
        settings = container.settings(tmp_path)
        grace = int(service["stop_grace_period"].removesuffix("s"))
        assert grace >= stop_seconds(settings) + SPARE_SECONDS, f"{name}: it is killed after {grace} s"


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_compose_names_what_is_there(file):
    (compose,) = documents(file)
    services, volumes = compose["services"], compose["volumes"]
    mounted = set()
    for name, service in services.items():
        for inside, outside in bind_mounts(service).items():
            assert outside.exists(), f"{name}: there is no {outside} to mount at {inside}"
        mounted |= set(named_volumes(service).values())
        needed = service.get("depends_on", [])
        assert set(needed) <= set(services), name
        for other, how in needed.items() if isinstance(needed, dict) else ():
            assert how == {"condition": "service_healthy"} and "healthcheck" in services[other], f"{name}: {other}"
        if "build" in service:
            context = file.parent / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).resolve() == DOCKERFILE
            assert context.resolve() == ROOT
    assert mounted == set(volumes)
    published = [port for service in services.values() for port in service.get("ports", [])]
    hosts = [port.split(":")[-2] for port in published]
    assert published and len(set(hosts)) == len(hosts)
    assert all(port.startswith("127.0.0.1:") for port in published), "there are no passwords and no TLS"


def test_the_cluster_of_containers_fits_together(tmp_path):
    containers = {name: compose_container(name, service) for name, service in of_our_image(ALL).items()}
    roles = sorted(container.role for container in containers.values())
    assert roles == ["readonly"] * 3 + ["router"] * 2 + ["writable"] * 2
    settings = {name: container.settings(tmp_path) for name, container in containers.items()}
    names = [one["node"]["name"] for name, one in settings.items() if containers[name].role != "router"]
    assert len(set(names)) == len(names), "two nodes have the same name"
    for name, one in settings.items():
        assert one["trace"]["endpoint"] == "http://jaeger:4317" and "jaeger" in ALL
        if containers[name].role != "router":
            assert one["node"]["advertise"] == f"{name}:{port_of(one['server']['listen'])}"
            assert one["cluster"]["shared_dir"] in named_volumes(ALL[name]), "the shared directory is none"
    shared = {one["cluster"]["shared_dir"] for name, one in settings.items() if containers[name].role != "router"}
    assert len(shared) == len({one["cluster"]["catalog"] for one in settings.values()}) == 1
    # Passwords are not shown by `mishards config`, so this is the text of the file.
    catalog = re.search(r'^catalog = "(.*)"', containers["reader-1"].config, re.MULTILINE)[1]
    mysql = ALL["mysql"]["environment"]
    login = f"{mysql['MYSQL_USER']}:{mysql['MYSQL_PASSWORD']}@mysql:3306/{mysql['MYSQL_DATABASE']}"
    assert login in catalog


def test_the_cluster_is_balanced_and_watched(tmp_path):
    """Nginx, Prometheus and Grafana of the cluster name its services, with the ports that these listen on."""
    ours = of_our_image(ALL)
    containers = {name: compose_container(name, service) for name, service in ours.items()}
    listen = {name: container.settings(tmp_path)["server"] for name, container in containers.items()}
    routers = {name for name, container in containers.items() if container.role == "router"}
    (site,) = bind_mounts(ALL["nginx"]).values()
    clients = {f"{name}:{port_of(listen[name]['listen'])}" for name in routers}
    assert set(re.findall(r"^\s*server (\S+:\d+)", site.read_text(), re.MULTILINE)) == clients
    (prometheus,) = documents(bind_mounts(ALL["prometheus"])["/etc/prometheus"] / "prometheus.yml")
    ops = {name: f"{name}:{port_of(server['ops_listen'])}" for name, server in listen.items()}
    scraped = {job["job_name"]: set(job["static_configs"][0]["targets"]) for job in prometheus["scrape_configs"]}
    assert scraped["mishards-router"] == {ops[name] for name in routers}
    assert scraped["mishards-node"] == set(ops.values()) - scraped["mishards-router"]
    provisioning = bind_mounts(ALL["grafana"])["/etc/grafana/provisioning"]
    (sources,) = documents(provisioning / "datasources" / "sources.yml")
    urls = {source["name"]: re.match(r"http://([^:]+):", source["url"])[1] for source in sources["datasources"]}
    assert urls == {"Prometheus": "prometheus", "Jaeger": "jaeger"} and set(urls.values()) <= set(ALL)
    (provider,) = documents(provisioning / "dashboards" / "dashboards.yml")
    folder = provider["providers"][0]["options"]["path"]
    assert bind_mounts(ALL["grafana"])[f"{folder}/mishards.json"] == DEPLOY / "grafana" / "mishards.json"


def test_the_image_has_an_ordinary_user_who_owns_the_folders():
    (user,) = dockerfile("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), f"USER {user}: a name cannot be looked up in an empty image"
    assert dockerfile("FROM")[-1] == "scratch"
    assert f"--from=build --chown={user} /folders/ /" in dockerfile("COPY")
    words = " ".join(dockerfile("RUN")).split()
    made = {word.removeprefix("/folders") for word in words if word.startswith("/folders/")}
    for file in COMPOSE:
        for name, service in of_our_image(documents(file)[0]["services"]).items():
            missing = set(named_volumes(service)) - made
            assert not missing, f"{file.name}: {name} cannot write to {missing}, which the image does not have"
    assert "/var/lib/mishards" in made, "state_dir and cache_dir of ../config are below it"
    (entrypoint,) = dockerfile("ENTRYPOINT")
    assert f"/image{json.loads(entrypoint)[0]}" in " ".join(dockerfile("RUN"))


# --- Kubernetes ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    return Manifests()


@pytest.fixture(params=["mishards-writable", "mishards-readonly", "mishards-router"])
def workload(request, manifests) -> dict:
    return manifests.workloads()[request.param]


def test_every_manifest_is_applied_in_one_namespace(manifests):
    (kustomization,) = documents(Manifests.FOLDER / "kustomization.yaml")
    assert sorted(kustomization["resources"]) == manifests.files
    assert len(manifests.workloads()) == 3
    (namespace,) = manifests.of("Namespace")
    assert kustomization["namespace"] == namespace
    assert {each["metadata"]["namespace"] for each in manifests.objects if each["kind"] != "Namespace"} == {namespace}
    pods = [each["spec"]["template"]["spec"] for each in manifests.workloads().values()]
    renamed = {image["name"] for image in kustomization["images"]}
    assert {container["image"] for pod in pods for container in pod["containers"]} == renamed
    keys = [(each["kind"], each["metadata"]["name"]) for each in manifests.objects]
    assert len(set(keys)) == len(keys)


def test_a_pod_starts_what_the_program_has(manifests, workload, tmp_path):
    container = manifests.container(workload)
    container.check_start(tmp_path)
    settings = container.settings(tmp_path)
    grace = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= stop_seconds(settings) + SPARE_SECONDS, f"it is killed after {grace} s"
    assert settings["cluster"]["catalog"].startswith("mysql://")
    if container.role != "router":
        assert settings["node"]["name"] == f"{workload['metadata']['name']}-0"
        assert settings["node"]["advertise"] == f"10.1.2.3:{port_of(settings['server']['listen'])}"


def test_a_pod_has_the_ports_and_folders_of_its_settings(manifests, workload, tmp_path):
    settings = manifests.container(workload).settings(tmp_path)
    pod = workload["spec"]["template"]["spec"]
    (spec,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in spec["ports"]}
    ops, main = (port_of(settings["server"][key]) for key in ("ops_listen", "listen"))
    assert ports["ops"] == ops and set(ports.values()) == {ops, main}
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert spec[probe]["httpGet"] == {"path": path, "port": "ops"}
    claims = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in spec["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == set(volumes) | claims
    written = [settings["server"]["state_dir"], settings["node"]["cache_dir"]]
    for folder in filter(None, written):
        (volume,) = [mount["name"] for path, mount in mounts.items() if folder.startswith(f"{path}/")] or [None]
        assert volume in claims or "emptyDir" in volumes.get(volume, {}), f"{folder} is on no disk of the host"
    if manifests.container(workload).role == "router":
        assert settings["server"]["state_dir"]
        return
    assert settings["node"]["cache_dir"], "the shared directory is on a network file system"
    shared = volumes[mounts[settings["cluster"]["shared_dir"]]["name"]]
    claim = manifests.of("PersistentVolumeClaim")[shared["persistentVolumeClaim"]["claimName"]]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_no_pod_has_more_rights_than_it_needs(workload):
    pod = workload["spec"]["template"]["spec"]
    (spec,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == dockerfile("USER")[0]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["enableServiceLinks"] is False


def test_nodes_are_found(manifests, tmp_path):
    """The discovery of every role names the Service of the nodes, and may read what it needs."""
    for workload in manifests.workloads().values():
        discovery = manifests.container(workload).settings(tmp_path)["discovery"]
        assert discovery["plugin"] == "kubernetes"
        service = manifests.of("Service")[discovery["label_selector"].removeprefix("kubernetes.io/service-name=")]
        assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
        assert discovery["port_name"] in [port["name"] for port in service["spec"]["ports"]]
        assert {each["metadata"]["name"] for each in manifests.selected(service["spec"]["selector"])} == {
            "mishards-writable",
            "mishards-readonly",
        }
        account = workload["spec"]["template"]["spec"]["serviceAccountName"]
        assert account in manifests.of("ServiceAccount")
        (binding,) = manifests.of("RoleBinding").values()
        assert account in [subject["name"] for subject in binding["subjects"] if subject["kind"] == "ServiceAccount"]
        (rule,) = manifests.of(binding["roleRef"]["kind"])[binding["roleRef"]["name"]]["rules"]
        assert rule == {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}


def test_selectors_and_references_meet_something(manifests):
    for name, service in manifests.of("Service").items():
        chosen = manifests.selected(service["spec"]["selector"])
        assert chosen, name
        for pod in (each["spec"]["template"]["spec"] for each in chosen):
            ports = {port["name"] for port in pod["containers"][0]["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, name
    budgets = manifests.of("PodDisruptionBudget")
    assert budgets.keys() == manifests.workloads().keys()
    for name, workload in manifests.workloads().items():
        labels = workload["spec"]["selector"]["matchLabels"]
        assert manifests.selected(labels) == [workload], f"{name}: its selector meets pods of others"
        assert budgets[name]["spec"]["selector"]["matchLabels"] == labels
        assert workload["spec"]["replicas"] > budgets[name]["spec"]["maxUnavailable"] > 0
        spread = workload["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert [each["labelSelector"]["matchLabels"] for each in spread] == [labels] * 2
        if workload["kind"] == "StatefulSet":
            governing = manifests.of("Service")[workload["spec"]["serviceName"]]
            assert workload in manifests.selected(governing["spec"]["selector"])
        for secret in paths(workload, "secretKeyRef"):
            assert secret["key"] in manifests.of("Secret")[secret["name"]]["stringData"]
        for config in paths(workload, "configMap"):
            assert config["name"] in manifests.of("ConfigMap")
    (policy,) = manifests.of("NetworkPolicy").values()
    guarded = manifests.selected(policy["spec"]["podSelector"]["matchLabels"])
    assert {each["metadata"]["name"] for each in guarded} == {"mishards-writable", "mishards-readonly"}
    (callers,) = (each["podSelector"]["matchLabels"] for rule in policy["spec"]["ingress"] for each in rule.get("from", []))
    assert len(manifests.selected(callers)) == 3, "routers and nodes call nodes"


def test_prometheus_finds_the_pods_by_their_labels(manifests):
    """Of deploy/prometheus/kubernetes.yml: the discovered labels that it goes by are labels of the pods."""
    (job,) = documents(DEPLOY / "prometheus" / "kubernetes.yml")[0]["scrape_configs"]
    (discovery,) = job["kubernetes_sd_configs"]
    assert discovery["namespaces"]["names"] == list(manifests.of("Namespace"))
    for workload in manifests.workloads().values():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        named = {re.sub(r"[^A-Za-z0-9]", "_", name): value for name, value in labels.items()}
        target = {f"__meta_kubernetes_pod_label_{name}": value for name, value in named.items()}
        target |= {"__meta_kubernetes_pod_container_port_name": "ops", "job": job["job_name"]}
        for rule in job["relabel_configs"]:
            value = ";".join(target.get(label, "") for label in rule["source_labels"])
            if rule.get("action") == "keep":
                assert re.fullmatch(rule["regex"], value), f"{workload['metadata']['name']} is not scraped"
            elif "regex" in rule and re.fullmatch(rule["regex"], value):
                target[rule["target_label"]] = rule["replacement"]
        is_router = workload["metadata"]["name"] == "mishards-router"
        assert target["job"] == ("mishards-router" if is_router else "mishards-node")


@pytest.mark.targets("standalone")
def test_probes_ask_for_pages_that_are_there(standalone, manifests):
    process = standalone.processes["standalone"]
    asked = [probe["path"] for each in manifests.workloads().values() for probe in paths(each, "httpGet")]
    assert len(asked) == 6
    for path in set(asked):
        process.ops(path)
    with pytest.raises(urllib.error.HTTPError):
        process.ops("/no-such-page")


def test_the_table_of_the_readme_names_every_folder():
    text = Path(DEPLOY / "README.md").read_text()
    assert [folder.name for folder in DEPLOY.iterdir() if folder.is_dir() and f"({folder.name}/" not in text] == []
