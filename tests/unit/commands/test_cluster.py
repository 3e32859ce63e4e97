from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from cog_schema import schema
from commands import cluster
from commands.cluster import CONFIG, ClusterError, configuration

REQUIREMENTS = schema.ROOT / "requirements-cluster.txt"


def deployment(config: dict[str, Any], name: str, of: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {one["name"]: one for one in config["applications"][of]["deployments"]}
    return dict(found[name])


def validate(config: dict[str, Any]) -> None:
    """Ray takes keys that it does not know; this does not."""
    ServeDeploySchema.model_validate(config)
    assert set(config) <= set(ServeDeploySchema.model_fields)
    assert set(config.get("http_options", {})) <= set(HTTPOptionsSchema.model_fields)
    for each in config["applications"]:
        assert set(each) <= set(ServeApplicationSchema.model_fields)
        for one in each["deployments"]:
            assert set(one) <= set(DeploymentSchema.model_fields)
            assert set(one.get("autoscaling_config", {})) <= set(AutoscalingConfig.model_fields)
            assert set(one.get("ray_actor_options", {})) <= set(RayActorOptionsSchema.model_fields)


def test_the_configuration_that_ships_is_one_of_ray_serve() -> None:
    config = configuration(CONFIG, [], None)
    validate(config)
    (application,) = config["applications"]
    assert application["import_path"] == "commands.cluster:application"
    scaling = deployment(config, "Replica")["autoscaling_config"]
    slots = schema.concurrency(schema.PREDICT.read_text())
    assert scaling["min_replicas"] < scaling["max_replicas"]
    assert scaling["target_ongoing_requests"] < slots
    assert deployment(config, "Replica")["ray_actor_options"]["num_gpus"] == 1
    # Whoever reaches it can use the models.
    assert config["http_options"]["host"] == "127.0.0.1"


def test_each_model_has_an_application_and_a_path_of_its_own() -> None:
    models = ["demo", "stable-diffusion-2-inpainting", "/somewhere/My-Model"]
    config = configuration(CONFIG, models, 3)
    validate(config)
    assert [(one["name"], one["route_prefix"], one["args"]) for one in config["applications"]] == [
        ("demo", "/demo", {"model": "demo"}),
        (
            "stable-diffusion-2-inpainting",
            "/stable-diffusion-2-inpainting",
            {"model": "stable-diffusion-2-inpainting"},
        ),
        ("My-Model", "/My-Model", {"model": "/somewhere/My-Model"}),
    ]
    for number in range(3):
        assert deployment(config, "Replica", number)["num_replicas"] == 3
        assert "autoscaling_config" not in deployment(config, "Replica", number)


def test_one_model_is_at_the_root() -> None:
    (application,) = configuration(CONFIG, ["demo"], None)["applications"]
    assert application["route_prefix"] == "/"


def test_it_is_another_configuration_only_where_the_code_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = configuration(CONFIG, [], None)
    assert configuration(CONFIG, [], None) == before
    (tmp_path / "predict.py").write_text("one")
    (tmp_path / "notes.txt").write_text("one")
    monkeypatch.setattr(cluster, "ROOT", tmp_path)
    one = configuration(CONFIG, [], None)
    (tmp_path / "notes.txt").write_text("other")
    assert configuration(CONFIG, [], None) == one
    (tmp_path / "predict.py").write_text("other")
    assert configuration(CONFIG, [], None) != one


def test_on_the_cpu_no_gpu_is_asked_for_or_seen() -> None:
    config = cluster.on_the_cpu(configuration(CONFIG, ["demo"], 2))
    validate(config)
    assert deployment(config, "Replica")["ray_actor_options"]["num_gpus"] == 0
    environment = config["applications"][0]["runtime_env"]["env_vars"]
    assert environment["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("text", ["", "[", "applications: []", "a: b", "applications: 7"])
def test_a_file_that_is_no_configuration_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(ClusterError, match=f"{path} is not a configuration of Ray Serve: "):
        configuration(path, [], None)


def test_what_is_no_dashboard_is_told() -> None:
    for address in ("http://127.0.0.1:9", "127.0.0.1:9", "ray://127.0.0.1:9"):
        with pytest.raises(ClusterError, match=f"Ray at {address} says: "):
            cluster.deploy(address, configuration(CONFIG, [], None))


def test_the_example_for_kubernetes_has_the_same_configuration() -> None:
    text = (schema.ROOT / "docs" / "rayservice.yaml").read_text()
    service, policy = yaml.safe_load_all(text)
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    validate(config)
    shipped = yaml.safe_load(CONFIG.read_text())["applications"][0]
    (application,) = config["applications"]
    assert application["import_path"] == shipped["import_path"]
    assert application["deployments"] == shipped["deployments"]
    cluster_config = service["spec"]["rayClusterConfig"]
    pods = [cluster_config["headGroupSpec"], *cluster_config["workerGroupSpecs"]]
    labels = [pod["template"]["metadata"]["labels"] for pod in pods]
    assert labels == [policy["spec"]["podSelector"]["matchLabels"]] * 2
    assert f"ray[serve]=={cluster_config['rayVersion']}" in REQUIREMENTS.read_text()


def test_in_the_example_for_kubernetes_no_container_is_root_or_writes_to_its_image() -> None:
    service, _ = yaml.safe_load_all((schema.ROOT / "docs" / "rayservice.yaml").read_text())
    config = service["spec"]["rayClusterConfig"]
    groups = [config["headGroupSpec"], *config["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [
        config["autoscalerOptions"],
        *(one for pod in pods for one in pod["containers"]),
    ]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
