"""Serve models on Ray Serve: on all GPUs of this machine until Ctrl-C, or on a Ray cluster.

When run again with --address, it upgrades what runs there to the current code, replica by replica.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import yaml

from cog_schema import selection
from cog_schema.schema import ROOT
from hosting import log
from hosting.backends.servers import Launch
from stable_diffusion.catalogue import WeightsError, entries, names

if TYPE_CHECKING:
    from ray.serve import Application

CONFIG = ROOT / "hosting" / "cluster" / "cluster.yaml"
CODE = (
    "predict.py",
    "infotext/*.py",
    "stable_diffusion/**/*.py",
    "hosting/**/*.py",
    "commands/*.py",
    "cog_schema/*.py",
    "cog_schema/*.json",
    "weights/*.json",
)
"""The files that replicas run; where one has changed, replicas are replaced."""
POLL_SECONDS = 1.0
"""Seconds between two checks of Serve's progress."""


class ClusterError(Exception):
    """An error with a sentence for the person who runs the command."""


def application(arguments: dict[str, str]) -> Application:
    """Build the application for Ray Serve, on the cluster.

    Args:
        arguments: `model` and `predictor`, as for scripts/serve; both may be left out.
    """
    from hosting.cluster import ingress

    return ingress.application(_launch(arguments))


def main() -> int:
    """Serve the models; return the exit status."""
    arguments = _parser().parse_args()
    log.configure()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        config = configuration(arguments.config, arguments.model, arguments.replicas)
        if arguments.cpu:
            config = on_the_cpu(config)
        if arguments.address:
            deploy(arguments.address, config)
            return 0
        for application in config["applications"]:
            _launch(application.get("args", {}))  # what is not here is said at once
        with local_ray() as (address, has_gpu):
            log.info("Ray runs", dashboard=address, on="GPUs" if has_gpu else "the CPU")
            deploy(address, config if has_gpu else on_the_cpu(config))
            while True:
                signal.pause()
    except (ClusterError, WeightsError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _launch(arguments: dict[str, str]) -> Launch:
    model = arguments.get("model") or os.environ.get("MODEL") or None
    return selection.launch(names(model) or [None], arguments.get("predictor"))


def configuration(path: Path, models: list[str], replicas: int | None) -> dict[str, Any]:
    """Return a Serve configuration for the code as it is now.

    Args:
        path: of the file that it is made from.
        models: of which each has an application like the file's first; as the file says if empty.
        replicas: how many each has, all the time; as the file says if None.

    Raises:
        ClusterError: when the file can't be read.
    """
    try:
        config: dict[str, Any] = yaml.safe_load(path.read_text())
        first = config["applications"][0]
    except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
        raise ClusterError(f"{path} is not a configuration of Ray Serve: {error}") from None
    if models:
        config["applications"] = [
            {
                **first,
                "name": Path(model).name,
                "route_prefix": "/" if len(models) == 1 else f"/{Path(model).name}",
                "args": {"model": model if model in entries() else str(Path(model).resolve())},
            }
            for model in models
        ]
    digest = hashlib.sha256()
    for file in sorted(file for pattern in CODE for file in ROOT.glob(pattern)):
        digest.update(file.read_bytes())
    for application in config["applications"]:
        environment = application.setdefault("runtime_env", {}).setdefault("env_vars", {})
        environment.setdefault("PYTHONPATH", str(ROOT))
        # Serve replaces what has changed in its configuration. It does not look at code.
        environment["STABLE_DIFFUSION_CODE"] = digest.hexdigest()[:16]
        if replicas:
            replica = _replica(application)
            replica.pop("autoscaling_config", None)
            replica["num_replicas"] = replicas
    return config


def on_the_cpu(config: dict[str, Any]) -> dict[str, Any]:
    """Change a configuration for machines without a GPU, and return it."""
    for application in config["applications"]:
        _replica(application).setdefault("ray_actor_options", {})["num_gpus"] = 0
        application["runtime_env"]["env_vars"]["CUDA_VISIBLE_DEVICES"] = (
            ""  # Ray hides none by itself
        )
    return config


@contextlib.contextmanager
def local_ray() -> Iterator[tuple[str, bool]]:
    """Run a Ray cluster on this machine; yield its dashboard's URL, and whether it has a GPU."""
    with (
        tempfile.TemporaryDirectory(prefix="stable-diffusion-") as folder,
        _environment(
            RAY_TMPDIR=os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(),
            # Replicas that are killed leave files there.
            TMPDIR=folder,
            # Whoever comes to Ray's ports without a token could run any program.
            RAY_AUTH_MODE="token",
            # Then its processes speak to one another over loopback, on every system.
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
            RAY_USAGE_STATS_ENABLED="0",
        ),
    ):
        import ray

        # Where Ray starts is what its processes import from first. An upgrade may lie elsewhere.
        with contextlib.chdir(folder):
            context = ray.init(
                include_dashboard=True,
                configure_logging=False,
                log_to_driver=False,
            )
        try:
            yield f"http://{context.dashboard_url}", bool(ray.cluster_resources().get("GPU"))
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def deploy(address: str, config: dict[str, Any]) -> None:
    """Have a Ray cluster serve what a configuration says, and wait until it does.

    Args:
        address: of the cluster's dashboard, such as http://127.0.0.1:8265.

    Raises:
        ClusterError: when it fails.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
    from ray.exceptions import AuthenticationError

    try:
        client = ServeSubmissionClient(address)
        client.deploy_applications(config)
        states: dict[str, tuple[str, str]] = {}
        while {state for state, _ in states.values()} != {"RUNNING"}:
            time.sleep(POLL_SECONDS)
            details = client.get_serve_details()["applications"]
            for application in config["applications"]:
                name = application["name"]
                state = _state(details.get(name))
                if states.get(name) != state:
                    log.info(
                        state[0], application=name, **({"reason": state[1]} if state[1] else {})
                    )
                    states[name] = state
                if state[0] in ("DEPLOY_FAILED", "UNHEALTHY"):
                    raise ClusterError(f"{name}: {state[1]}")
    except AuthenticationError:
        raise ClusterError(
            f"{address} needs a token: put Ray's into RAY_AUTH_TOKEN or ~/.ray/auth_token"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"Ray at {address} says: {_sentence(str(error))}") from None


def _replica(application: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an application's configuration that is about replicas, to be changed."""
    deployments: list[dict[str, Any]] = application.setdefault("deployments", [])
    for deployment in deployments:
        if deployment["name"] == "Replica":
            return deployment
    deployments.append({"name": "Replica"})
    return deployments[-1]


def _state(details: dict[str, Any] | None) -> tuple[str, str]:
    """Return an application's status, and the reason for it."""
    if details is None:
        return "NOT_STARTED", ""
    messages = [each["message"] for each in details["deployments"].values()]
    messages = [message for message in (*messages, details["message"]) if message]
    raised = [message for message in messages if "Error: " in message]
    return details["status"], _sentence((raised or messages or [""])[0])


def _sentence(message: str) -> str:
    """Return the message of an error, without the calls that led to it."""
    return message.strip().rpartition("Error: ")[2]


def _stop(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _replicas(text: str) -> int:
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of replicas; give 1 or more")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/cluster",
        description=__doc__,
        epilog="More is in docs/scaling.md.",
    )
    parser.add_argument(
        "--address",
        metavar="URL",
        help="the dashboard of a Ray cluster that runs already, such as http://127.0.0.1:8265",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=CONFIG,
        help="a configuration of Ray Serve; hosting/cluster/cluster.yaml unless given",
    )
    parser.add_argument(
        "--model",
        nargs="+",
        action="extend",
        default=[],
        help="as for scripts/serve; each gets replicas of its own",
    )
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="have the replicas run on the CPU, as they do on this machine if it has no GPU",
    )
    parser.add_argument(
        "--replicas",
        type=_replicas,
        help="of each model, all the time; unless given, the configuration and the load decide",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
