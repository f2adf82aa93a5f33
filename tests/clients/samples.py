"""Reads the samples of `deploy/`, and asks the program what it makes of the settings and command lines in them."""

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from harness import BINARY, HERE

ROOT = HERE.parent.parent
DEPLOY = ROOT / "deploy"
# A format of the log that there is none of: everything that is wrong is named at once, so that the program has accepted its
# command line, its file and its variables when it names this one alone.
NO_FORMAT = ("MISHARDS__LOG__FORMAT", "no such format", 'log.format must be text or json, not "no such format"')


def documents(path: Path) -> list[dict]:
    """All documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


@dataclass
class Container:
    """What a sample starts: one process of the program."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    config: str  # The text of its settings file.

    def run(self, arguments: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess:
        """The program with these arguments, in which the settings file of the sample is one in the folder."""
        file = folder / f"{self.name}.toml"
        file.write_text(self.config)
        arguments = [str(file) if argument.endswith(".toml") else argument for argument in arguments]
        others = {key: value for key, value in os.environ.items() if not key.startswith("MISHARDS__")}
        environment = others | self.environment | more
        command = [BINARY, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment, check=False)

    def check_start(self, folder: Path) -> None:
        """Its command line is complete and each of its settings is one: nothing is left to refuse but what we add."""
        variable, value, refusal = NO_FORMAT
        done = self.run(self.arguments, folder, **{variable: value})
        alone = f"mishards: {variable}: {refusal}\n"
        assert done.stderr == alone, f"{self.name}: mishards {' '.join(self.arguments)}: {done.stderr or done}"

    def settings(self, folder: Path) -> dict[str, dict]:
        """Its effective settings, by `mishards config`."""
        done = self.run(["config", "--config", "settings.toml"], folder)
        assert done.returncode == 0, f"{self.name}: {done.stderr}"
        return tomllib.loads(done.stdout)

    @property
    def role(self) -> str:
        """router, writable, readonly, or standalone."""
        return self.arguments[self.arguments.index("--role") + 1] if "--role" in self.arguments else self.arguments[0]


def port_of(address: str) -> int:
    return int(address.rsplit(":", 1)[1])


def stop_seconds(settings: dict[str, dict]) -> float:
    """How long a process may take to end, whatever its role."""
    leave = [float(section["leave_seconds"]) for section in settings.values() if "leave_seconds" in section]
    return sum(leave) + float(settings["server"]["drain_seconds"])


# --- Compose -------------------------------------------------------------------------------------------------------

COMPOSE = sorted((DEPLOY / "docker").glob("*.yml"))
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"


def bind_mounts(service: dict) -> dict[str, Path]:
    """Path in the container: file or folder of this repository."""
    mounts = [mount.split(":") for mount in service.get("volumes", [])]
    return {mount[1]: (DEPLOY / "docker" / mount[0]).resolve() for mount in mounts if mount[0].startswith(".")}


def named_volumes(service: dict) -> dict[str, str]:
    """Path in the container: name of the volume."""
    mounts = [mount.split(":") for mount in service.get("volumes", [])]
    return {mount[1]: mount[0] for mount in mounts if not mount[0].startswith(".")}


def dockerfile(instruction: str) -> list[str]:
    """The arguments of each such instruction of the Dockerfile, lines that go on joined."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(f"{instruction} ")]


def compose_container(name: str, service: dict) -> Container:
    arguments = service.get("command") or yaml.safe_load(dockerfile("CMD")[-1])
    environment = {key: str(value) for key, value in service.get("environment", {}).items()}
    config = ""
    for path in (argument for argument in arguments if argument.endswith(".toml")):
        mounts = [(inside, outside) for inside, outside in bind_mounts(service).items() if path.startswith(inside)]
        assert mounts, f"{name}: nothing is mounted where {path} is to be"
        inside, outside = mounts[0]
        config = (outside / Path(path).relative_to(inside)).read_text()
    return Container(name, arguments, environment, config)


def of_our_image(services: dict[str, dict]) -> dict[str, dict]:
    return {name: service for name, service in services.items() if service.get("image") == "mishards"}


# --- Kubernetes ----------------------------------------------------------------------------------------------------


class Manifests:
    """All objects of deploy/kubernetes."""

    FOLDER = DEPLOY / "kubernetes"

    def __init__(self) -> None:
        files = sorted(self.FOLDER.glob("*.yaml"))
        self.files = [file.name for file in files if file.name != "kustomization.yaml"]
        self.objects = [each for file in files if file.name in self.files for each in documents(file)]

    def of(self, *kinds: str) -> dict[str, dict]:
        """Objects of these kinds by their names."""
        return {each["metadata"]["name"]: each for each in self.objects if each["kind"] in kinds}

    def workloads(self) -> dict[str, dict]:
        return self.of("Deployment", "StatefulSet")

    def selected(self, labels: dict[str, str]) -> list[dict]:
        """The workloads whose pods have all these labels."""
        pods = ((each, each["spec"]["template"]["metadata"]["labels"]) for each in self.workloads().values())
        return [workload for workload, own in pods if labels.items() <= own.items()]

    def container(self, workload: dict) -> Container:
        """With what Kubernetes would fill in: the pod's name and address, and values of Secrets."""
        name, pod = workload["metadata"]["name"], workload["spec"]["template"]["spec"]
        (spec,) = pod["containers"]
        environment: dict[str, str] = {}
        for variable in spec.get("env", []):
            environment[variable["name"]] = self.value(variable, name, environment)
        config = "".join(self.mounted_text(pod, spec, path) for path in spec["args"] if path.endswith(".toml"))
        return Container(name, spec["args"], environment, config)

    def value(self, variable: dict, workload: str, before: dict[str, str]) -> str:
        if "value" in variable:
            # Kubernetes leaves a name alone that no variable before it has.
            return re.sub(r"\$\((\w+)\)", lambda found: before[found[1]], variable["value"])
        source = variable["valueFrom"]
        if "fieldRef" in source:
            return {"metadata.name": f"{workload}-0", "status.podIP": "10.1.2.3"}[source["fieldRef"]["fieldPath"]]
        secret = source["secretKeyRef"]
        return self.of("Secret")[secret["name"]]["stringData"][secret["key"]]

    def mounted_text(self, pod: dict, container: dict, path: str) -> str:
        """The text of a file that a ConfigMap puts there."""
        folder, file = path.rsplit("/", 1)
        (volume,) = (mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == folder)
        (source,) = (each["configMap"]["name"] for each in pod["volumes"] if each["name"] == volume)
        return self.of("ConfigMap")[source]["data"][file]


def paths(node: object, key: str) -> Iterator[object]:
    """Every value of this key, however deep."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from paths(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from paths(value, key)
