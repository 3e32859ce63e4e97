"""The engines of the models that a worker serves: those it was started with, and a folder's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stable_diffusion.catalogue import SetupError, Weights
from stable_diffusion.engine import Engine
from stable_diffusion.installed import Folder
from stable_diffusion.model_folder import Found, ModelFolder
from stable_diffusion.request import InputError, nearest, quote


@dataclass(eq=False)
class Served:
    """A model that is served: its engine, and the folders of what its requests may use.

    users: requests that have it, from before they are read.
    """

    engine: Engine
    loras: Folder
    embeddings: Folder
    users: int = 0

    @property
    def name(self) -> str:
        """The name of its weights."""
        return self.engine.model.weights.name


class Engines:
    """The engines of models of one task, by the models' names; any thread may ask.

    Args:
        given: those that are served as long as this is, the usual one first. They are started now.
        folder: of others, which are started when they are asked for, and closed when they are gone.
        start: loads a model, and returns what serves it.

    Raises:
        SetupError: when one of those given can't be started, or is given twice.
    """

    def __init__(
        self,
        given: Iterable[Weights],
        folder: ModelFolder | None,
        start: Callable[[Weights], Served],
    ) -> None:
        self._start = start
        self._folder = folder
        self._starting = threading.Lock()
        self._lock = threading.Lock()
        self._given: dict[str, Served] = {}
        self._others: dict[Found, Served] = {}
        for weights in given:
            if weights.name in self._given:
                raise SetupError(f"{weights.name} is given twice as a model; give it once")
            self._given[weights.name] = start(weights)

    @property
    def usual(self) -> Served:
        """The one for whoever names none."""
        return next(iter(self._given.values()))

    @property
    def started(self) -> list[Served]:
        """Those that have been started."""
        return [*self._given.values(), *self._others.values()]

    @property
    def may_be_several(self) -> bool:
        """Whether there is, or may come to be, more than one model."""
        return len(self._given) > 1 or self._folder is not None

    def names(self) -> list[str]:
        """Look which models there are now; return their names, the usual one first."""
        return [*self._given, *self._there()]

    def prepare(self, name: str | None) -> None:
        """Start what serves a model, if need be, which takes seconds; close what is gone.

        Raises:
            InputError: when there is no such model now, or it can't be loaded.
        """
        if self._folder is None and (name is None or name in self._given):
            return
        there = self._there()
        self._close({found for found in self._others if found not in there.values()})
        if name is None or name in self._given:
            return
        if name not in there:
            known = [*self._given, *there]
            raise InputError(f"model: {quote(name)} is not allowed; give {nearest(name, known)}")
        found = there[name]
        with self._starting:
            if found not in self._others:
                try:
                    served = self._start(found.weights)
                except SetupError as error:
                    reason = str(error).replace(str(found.weights.path), name)
                    raise InputError(f"model: {name} can't be used: {reason}") from error
                with self._lock:
                    self._others[found] = served

    @contextmanager
    def using(self, name: str | None) -> Iterator[Served]:
        """Have what serves a model, which was prepared, for the time of a block.

        Raises:
            InputError: when it has gone since.
        """
        with self._lock:
            newest = {found.weights.name: served for found, served in self._others.items()}
            served = self.usual if name is None else {**newest, **self._given}.get(name)
            if served is None:
                raise InputError(f"model: {quote(name)} has just been removed; ask for another")
            served.users += 1
        try:
            yield served
        finally:
            with self._lock:
                served.users -= 1

    def close(self) -> None:
        """Close all engines."""
        for served in self.started:
            served.engine.close()

    def _there(self) -> dict[str, Found]:
        """Return what is in the folder now, without what has the name of a given one."""
        there = self._folder.models() if self._folder else {}
        return {name: found for name, found in there.items() if name not in self._given}

    def _close(self, gone: set[Found]) -> None:
        """Close those that nobody uses."""
        with self._lock:
            at_rest = [found for found in gone if not self._others[found].users]
            closed = [self._others.pop(found) for found in at_rest]
        for served in closed:
            served.engine.close()
