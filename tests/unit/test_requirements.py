"""locked/ is what scripts/lock makes of the requirements files as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import requires

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cog_schema.schema import ROOT

LISTS = sorted(path.name for path in ROOT.glob("requirements*.txt"))
LOCKED = ROOT / "locked"
CLIENTS = {
    name: packages
    for name, *packages in map(
        str.split, (ROOT / "tests/clients/python.txt").read_text().splitlines()
    )
    if name != "#"
}
"""The packages that are chosen for each client that the tests use."""
CLIENT_LISTS = [f"clients/{name}.txt" for name in CLIENTS]
ENTRY = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)( ; (?P<marker>.+?))? \\\n"
    r"(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+",
    re.MULTILINE,
)


def required(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def versions(requirements: list[Requirement]) -> dict[str, str]:
    """The version of each package, which a requirements file names exactly."""
    assert all(re.fullmatch(r"==[\w.]+", str(one.specifier)) for one in requirements)
    return {canonicalize_name(one.name): str(one.specifier)[2:] for one in requirements}


def locked(name: str) -> dict[str, tuple[str, str | None]]:
    """The version of each package, and its marker."""
    entries = ENTRY.finditer((LOCKED / name).read_text())
    return {entry["name"]: (entry["version"], entry["marker"]) for entry in entries}


def needed_by(requirements: list[Requirement]) -> Iterator[str]:
    """All packages that these bring here, as those that are installed say; without torch."""
    waiting = [(one.name, frozenset(one.extras)) for one in requirements]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        if name == "torch":
            continue
        yield canonicalize_name(name)
        for one in map(Requirement, requires(name) or []):
            wanted = any(
                one.marker is None or one.marker.evaluate({"extra": extra})
                for extra in ("", *extras)
            )
            dependency = (canonicalize_name(one.name), frozenset(one.extras))
            if wanted and dependency not in seen:
                seen.add(dependency)
                waiting.append(dependency)


def test_every_list_is_locked_and_nothing_else() -> None:
    found = {str(path.relative_to(LOCKED)) for path in LOCKED.rglob("*.txt")}
    assert found == {*LISTS, "container.txt", *CLIENT_LISTS}


@pytest.mark.parametrize("name", LISTS)
def test_a_locked_list_has_the_versions_of_its_requirements(name: str) -> None:
    found = {package: version for package, (version, _) in locked(name).items()}
    wanted = versions(required(name))
    wanted.pop("torch", None)
    assert wanted.items() <= found.items(), f"{name} has changed: run scripts/lock"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_locked_client_has_the_versions_that_are_chosen_and_no_torch(client: str) -> None:
    found = {package: version for package, (version, _) in locked(f"clients/{client}.txt").items()}
    wanted = versions([Requirement(one) for one in CLIENTS[client]])
    assert wanted.items() <= found.items(), f"{client} has changed: run scripts/lock"
    assert "torch" not in found


@pytest.mark.parametrize("name", [*LISTS, *CLIENT_LISTS])
def test_every_locked_package_has_hashes_and_no_line_is_anything_else(name: str) -> None:
    rest = ENTRY.sub("", (LOCKED / name).read_text())
    assert all(line.startswith("#") for line in rest.splitlines())
    assert "://" not in rest


@pytest.mark.parametrize("name", LISTS)
def test_a_locked_list_has_all_that_its_requirements_need_and_no_more(name: str) -> None:
    """It is installed without looking at what its packages need."""
    here = {
        package
        for package, (_, marker) in locked(name).items()
        if marker is None or Marker(marker).evaluate()
    }
    assert here == set(needed_by(required(name))), f"{name} has changed: run scripts/lock"


def test_what_torch_needs_on_every_platform_is_locked() -> None:
    plain = [one for one in map(Requirement, requires("torch") or []) if one.marker is None]
    assert plain
    assert {canonicalize_name(one.name) for one in plain} <= set(locked("requirements.txt"))


def test_all_lists_and_the_container_have_each_package_in_one_version() -> None:
    together: dict[str, str] = {}
    for name in LISTS:
        for package, (version, _) in locked(name).items():
            assert together.setdefault(package, version) == version
    together["torch"] = versions(required("requirements.txt"))["torch"]
    for package, version in versions(required("locked/container.txt")).items():
        assert together.setdefault(package, version) == version
