"""The import of the heavy libraries without the parts that inference never uses."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any


@contextmanager
def lean_imports() -> Iterator[None]:
    """Leave the following out while torch, transformers and diffusers are imported and load models.

    Garbage collection: imports make a million objects to look through, which all stay.
    torch's compiler: the libraries mark with it what it is not to compile. Without the marks it
    still works for whoever asks for it later.
    torch's distribution over machines, and scipy for the losses of object detectors: transformers
    does without them from then on. diffusers gets what it has of scipy when it asks.
    Random numbers for weights that are read from a file right after.

    It changes nothing where transformers was imported before.
    """
    if "transformers" in sys.modules:
        yield
        return
    collected = gc.isenabled()
    gc.disable()
    try:
        with (
            _standing("torch._dynamo", _compiler()),
            _standing("scipy.stats", _postponed("scipy.stats")),
            _standing("scipy.integrate", _postponed("scipy.integrate")),
        ):
            import torch

            with (
                # transformers looks into scikit-learn where that is installed, which needs scipy.
                nullcontext() if find_spec("sklearn") else _standing("scipy", None),
                _attribute(torch.distributed, "is_available", lambda: False),
            ):
                from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401 loads them
            # Before the next block: it keeps torch's functions, and later puts them back.
            from diffusers.models import modeling_utils  # noqa: F401 loads it

            with _attribute(torch.nn.init, "normal_", lambda weights, *_, **__: weights):
                yield
    finally:
        if collected:
            gc.enable()
    gc.freeze()


@contextmanager
def _standing(name: str, module: ModuleType | None) -> Iterator[None]:
    """Let imports find this module under a name; None stands for one that is not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module  # type: ignore[assignment]
    try:
        yield
    finally:
        if sys.modules.get(name) is module:
            del sys.modules[name]


@contextmanager
def _attribute(owner: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Give an attribute of a module another value for the block."""
    was = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, was)


def _postponed(name: str) -> ModuleType:
    """Return a stand-in for a module, which imports the real one when an attribute is used."""
    module = ModuleType(name)

    def real(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    vars(module)["__getattr__"] = real
    return module


def _compiler() -> ModuleType:
    """Return a stand-in for `torch._dynamo` that has the marks, and imports the rest when used."""
    module = _postponed("torch._dynamo")
    spec = find_spec(module.__name__)
    module.__spec__ = spec
    module.__path__ = (spec and spec.submodule_search_locations) or []

    def mark(function: Any = None, *_: Any, **__: Any) -> Any:
        return function or mark

    marks = dict.fromkeys(("allow_in_graph", "assume_constant_result", "disable"), mark)
    vars(module).update(marks, eval_frame=SimpleNamespace(OptimizedModule=()))
    return module
