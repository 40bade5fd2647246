"""The Kubernetes manifests are valid and agree with the compose file, the code and each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from backend import programs
from backend.settings import Settings
from tests import deployment
from tests.deployment import ROOT, services

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.30.0", "1.37.0")
SETTINGS = {one.name.upper(): one for one in fields(Settings)}
SECRETS = {name for name, one in SETTINGS.items() if one.metadata["secret"]} - {"REDIS_URL"}
OURS = ("web", "review", "push", "train")
SCALED = ("web", "review", "push")
POD_KINDS = ("Deployment", "StatefulSet")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def resources() -> list[str]:
    """The files that are applied."""
    listed: list[str] = documents("kustomization.yaml")[0]["resources"]
    return listed


MANIFESTS = {
    path.name: documents(path.name)
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.name != "kustomization.yaml"
}
WORKLOADS = [
    pytest.param(one, id=f"{file}-{one['metadata']['name']}")
    for file, found in MANIFESTS.items()
    for one in found
    if one["kind"] in POD_KINDS
]


def applied(kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind that are applied, by name."""
    every = (one for file in resources() for one in MANIFESTS[file])
    return {one["metadata"]["name"]: one for one in every if one["kind"] == kind}


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workload["spec"]["template"]["spec"]
    return found


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod(workload)["containers"]
    return dict(found)


def labels(workload: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def selectors(node: Any) -> Iterator[dict[str, Any]]:
    """Every selector of pods below a node, as policies and budgets write them."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("podSelector", "selector"):
                yield value
            yield from selectors(value)
    elif isinstance(node, list):
        for value in node:
            yield from selectors(value)


def names_in(selector: dict[str, Any]) -> set[str]:
    wanted = selector.get("matchLabels", {}).get("app.kubernetes.io/name")
    more = (set(one["values"]) for one in selector.get("matchExpressions", ()))
    return ({wanted} if wanted else set()).union(*more)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", MANIFESTS)
def test_a_manifest_is_what_the_api_accepts(file: str, version: str) -> None:
    for one in MANIFESTS[file]:
        kubernetes_validate.validate(one, version, strict=True)
        if one["kind"] in POD_KINDS:
            pod(one)["hostNetworks"] = True
            with pytest.raises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(one, version, strict=True)
            del pod(one)["hostNetworks"]


def test_every_file_is_applied_but_the_example_and_the_other_kind_of_trainer() -> None:
    assert set(MANIFESTS) - set(resources()) == {"secret.example.yaml", "train-gpu.yaml"}
    assert set(applied("Deployment")) == set(OURS)
    (namespace,) = applied("Namespace").values()
    assert namespace["metadata"]["name"] == documents("kustomization.yaml")[0]["namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_commands_and_images_are_those_of_the_compose_file() -> None:
    for name in OURS:
        ours, there = container(applied("Deployment")[name]), services()[name]
        assert ours["command"] == there["command"]
        assert ours["image"] == there["image"]
    (gpu,) = MANIFESTS["train-gpu.yaml"]
    assert container(gpu)["command"] == services()["train-gpu"]["command"]
    assert container(gpu)["image"] == services()["train-gpu"]["image"]
    assert container(gpu)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container(gpu)["env"] == [{"name": "DEVICE", "value": "cuda"}]
    redis = container(applied("StatefulSet")["redis"])
    assert redis["image"] == services()["redis"]["image"]
    assert redis["command"] == services()["redis"]["command"]
    assert (
        redis["livenessProbe"]["exec"]["command"] == services()["redis"]["healthcheck"]["test"][1:]
    )


def test_the_commands_are_the_supervisors() -> None:
    given = Settings(host="0.0.0.0", redis_url="redis://redis:6379/0")
    argv = {one.name: ["python", *one.argv[1:]] for one in programs.backend_programs(given, {})}
    for name in OURS:
        assert container(applied("Deployment")[name])["command"] == argv[name]


def test_what_is_configured_are_settings_that_are_valid(tmp_path: Path) -> None:
    (config,) = applied("ConfigMap").values()
    given = config["data"]
    assert set(given) <= set(SETTINGS) - SECRETS | {f"{name}_FILE" for name in SECRETS}
    (example,) = MANIFESTS["secret.example.yaml"]
    for key in example["stringData"]:
        (tmp_path / key).write_text(f"own {key}")
    here = {name: text.replace(deployment.SECRETS, f"{tmp_path}/") for name, text in given.items()}
    settings = Settings.from_env(here)
    assert settings.redis_password == "own redis_password"
    assert settings.port == container(applied("Deployment")["web"])["ports"][0]["containerPort"]
    compose = services()["web"]["environment"]
    for name in ("HOST", "PORT", "REDIS_URL", "REDIS_PASSWORD_FILE", "DATA_DIR", "MODEL_DIR"):
        assert given[name] == compose[name]


def test_the_secret_has_every_key_that_is_read_and_no_value() -> None:
    (example,) = MANIFESTS["secret.example.yaml"]
    keys = example["stringData"]
    assert set(keys) == {name.lower() for name in SECRETS}
    assert not any(keys.values())
    read = set(re.findall(rf"{deployment.SECRETS}(\w+)", str(MANIFESTS)))
    assert read <= set(keys)
    for workload in (*applied("Deployment").values(), *applied("StatefulSet").values()):
        (mounted,) = (one["secret"] for one in pod(workload)["volumes"] if one["name"] == "secrets")
        assert mounted["secretName"] == example["metadata"]["name"]
        assert {one["key"] for one in mounted.get("items", ())} <= set(keys)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_pod_runs_under_the_restricted_standard(workload: dict[str, Any]) -> None:
    inside = container(workload)["securityContext"]
    assert inside["allowPrivilegeEscalation"] is False
    assert inside["readOnlyRootFilesystem"] is True
    assert inside["capabilities"] == {"drop": ["ALL"]}
    around = pod(workload)["securityContext"]
    assert around["runAsNonRoot"] is True
    assert around["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(workload)["automountServiceAccountToken"] is False
    (user,) = deployment.instructions("USER")
    name = workload["metadata"]["name"]
    assert str(around["runAsUser"]) == (
        services()["redis"]["user"].split(":")[0] if name == "redis" else user
    )


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_pod_is_probed_bounded_and_has_a_place_for_what_it_writes(
    workload: dict[str, Any],
) -> None:
    ours, name = container(workload), workload["metadata"]["name"]
    assert {"startupProbe", "livenessProbe"} <= set(ours)
    assert ("readinessProbe" in ours) is (name in ("web", "redis"))  # those that are called
    assert {"cpu", "memory"} <= set(ours["resources"]["requests"])
    assert "memory" in ours["resources"]["limits"]
    mounted = {one["mountPath"] for one in ours["volumeMounts"]}
    assert mounted == ({"/data", "/run/secrets"} | ({"/tmp"} if name != "redis" else set()))
    volumes = {one["name"] for one in pod(workload)["volumes"]}
    claimed = {one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", ())}
    assert volumes | claimed == {one["name"] for one in ours["volumeMounts"]}


def test_the_probes_ask_what_the_compose_file_asks() -> None:
    every = applied("Deployment")
    for name in ("review", "push", "train"):
        asked = services()[name]["healthcheck"]["test"][1:]
        for probe in ("startupProbe", "livenessProbe"):
            assert container(every[name])[probe]["exec"]["command"] == asked
    web = container(every["web"])
    assert web["livenessProbe"]["httpGet"]["path"] in services()["web"]["healthcheck"]["test"][-1]
    assert web["livenessProbe"]["httpGet"]["port"] == web["ports"][0]["name"]


def test_services_budgets_and_the_autoscaler_select_pods_that_exist() -> None:
    workloads = {**applied("Deployment"), **applied("StatefulSet")}
    for name, one in workloads.items():
        assert one["spec"]["selector"]["matchLabels"].items() <= labels(one).items()
        assert labels(one)["app.kubernetes.io/name"] == name
    for name, service in applied("Service").items():
        assert service["spec"]["selector"].items() <= labels(workloads[name]).items()
    assert set(applied("PodDisruptionBudget")) == set(SCALED)
    for name, budget in applied("PodDisruptionBudget").items():
        assert names_in(budget["spec"]["selector"]) == {name}
    (scaler,) = applied("HorizontalPodAutoscaler").values()
    assert scaler["spec"]["scaleTargetRef"]["name"] == "push"
    assert "replicas" not in workloads["push"]["spec"]  # or each apply undoes what it did
    assert "cpu" in container(workloads["push"])["resources"]["requests"]


def test_pods_share_a_volume_that_many_may_write() -> None:
    (claim,) = applied("PersistentVolumeClaim").values()
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for one in applied("Deployment").values():
        (shared,) = (v for v in pod(one)["volumes"] if v["name"] == "data")
        assert shared["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_nothing_is_reached_that_no_policy_names() -> None:
    policies = applied("NetworkPolicy")
    assert policies["nothing-else"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    let_in = {
        name: one["spec"]["ingress"] for name, one in policies.items() if "ingress" in one["spec"]
    }
    assert set(let_in) == {"redis", "web"}
    assert set().union(*map(names_in, selectors(let_in["redis"]))) == set(OURS)
    known = {*OURS, "redis"}
    assert set().union(*map(names_in, selectors(list(policies.values())))) == known
    for name, port in (("redis", 6379), ("web", 9090)):
        assert let_in[name][0]["ports"] == [{"port": port}]
        assert applied("Service")[name]["spec"]["ports"][0]["port"] == port
