"""The files for Kubernetes: settings, volumes, secrets, probes and selectors belong together."""

import importlib
import importlib.util
from typing import Any

import pytest
import yaml

from pipeline.settings import HOME, Settings
from server.access.rules import Open, rule_for

FOLDER = HOME / "deploy" / "kubernetes"
OF_RAY = {"RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED", "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD",
          "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH", "RAY_gcs_rpc_server_reconnect_timeout_s"}  # fmt: skip
"""Variables that only Ray reads."""


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text("utf-8")))


PARLEY = {(one["kind"], one["metadata"]["name"]): one for one in documents("parley.yaml")}
SECRETS = {one["metadata"]["name"]: one for one in documents("secret.example.yaml")}
[RAY] = documents("ray.yaml")
GROUPS = [RAY["spec"]["headGroupSpec"], *RAY["spec"]["workerGroupSpecs"]]
FRONT = PARLEY["Deployment", "parley"]["spec"]["template"]
REDIS = [PARLEY["Deployment", name]["spec"]["template"] for name in ("parley-redis", "parley-ray-redis")]
OF_GROUPS = [group["template"] for group in GROUPS]
PODS = [FRONT, *REDIS, *OF_GROUPS]


def test_variables_are_settings() -> None:
    names = {*PARLEY["ConfigMap", "parley"]["data"], *SECRETS["parley"]["stringData"]}
    names |= {one["name"] for pod in OF_GROUPS for one in pod["spec"]["containers"][0]["env"]}
    assert {name for name in names if name.lower() not in Settings.model_fields} == OF_RAY


def test_what_is_referred_to_is_there() -> None:
    claims = {name for kind, name in PARLEY if kind == "PersistentVolumeClaim"}
    for pod in PODS:
        volumes = {one["name"]: one for one in pod["spec"].get("volumes", ())}
        assert {
            one["persistentVolumeClaim"]["claimName"] for one in volumes.values() if "emptyDir" not in one
        } <= claims
        for container in pod["spec"]["containers"]:
            assert {one["name"] for one in container.get("volumeMounts", ())} <= volumes.keys()
            for one in container.get("env", ()):
                if wanted := one.get("valueFrom", {}).get("secretKeyRef"):
                    assert wanted["key"] in SECRETS[wanted["name"]]["stringData"]
    labels = [pod["metadata"]["labels"]["app"] for pod in PODS]
    for kind in ("Service", "PodDisruptionBudget"):
        for (of, name), one in PARLEY.items():
            if of == kind:
                chosen = one["spec"]["selector"]
                assert chosen.get("matchLabels", chosen)["app"] in labels, name
    head = PARLEY["ConfigMap", "parley"]["data"]["RAY_ADDRESS"]
    assert head == f"{RAY['metadata']['name']}-head-svc:6379"
    kept = RAY["spec"]["gcsFaultToleranceOptions"]
    assert kept["redisAddress"] == f"{PARLEY['Service', 'parley-ray-redis']['metadata']['name']}:6379"
    wanted = kept["redisPassword"]["valueFrom"]["secretKeyRef"]
    [password] = REDIS[1]["spec"]["containers"][0]["env"]
    assert wanted == password["valueFrom"]["secretKeyRef"]


def test_probes_need_no_key_and_the_drain_fits() -> None:
    front = FRONT["spec"]["containers"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert rule_for(front[probe]["httpGet"]["path"], "GET").needed is Open.ALL
    drain_s = float(PARLEY["ConfigMap", "parley"]["data"]["DRAIN_SECONDS"])
    assert FRONT["spec"]["terminationGracePeriodSeconds"] >= drain_s + 15


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod["metadata"]["labels"]["app"])
def test_containers_have_no_rights(pod: dict[str, Any]) -> None:
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    for container in pod["spec"]["containers"]:
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.skipif(importlib.util.find_spec("kubernetes_validate") is None, reason="needs kubernetes-validate")
def test_the_schemas_of_kubernetes_are_kept() -> None:
    validate = importlib.import_module("kubernetes_validate").validate
    pods = [{"apiVersion": "v1", "kind": "Pod", **pod} for pod in OF_GROUPS]
    for one in (*PARLEY.values(), *SECRETS.values(), *pods):
        validate(one, "1.33", strict=True)
