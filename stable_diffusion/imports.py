"""The heavy libraries, imported without what inference never asks for."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any


@contextmanager
def quick() -> Iterator[None]:
    """Imports of torch, transformers and diffusers in this block leave out three things.

    Garbage collection: imports make a million objects to look through, which all stay.
    torch's compiler: the libraries mark with it what it is not to compile. Without the marks it
    still works for whoever asks for it later.
    scipy: transformers has it for the losses of object detectors, and does without from then on;
    diffusers has scipy.stats for a schedule that no model here has, and gets it when it asks.

    It changes nothing where transformers was imported before.
    """
    if "transformers" in sys.modules:
        yield
        return
    collected = gc.isenabled()
    gc.disable()
    try:
        with _standing("torch._dynamo", _compiler()), _standing("scipy.stats", _empty()):
            with _standing("scipy", None):
                from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401 loads them
            yield
    finally:
        if collected:
            gc.enable()
    gc.freeze()


@contextmanager
def _standing(name: str, module: ModuleType | None) -> Iterator[None]:
    """Lets imports find this module under a name; None is one that is not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module  # type: ignore[assignment]
    try:
        yield
    finally:
        if sys.modules.get(name) is module:
            del sys.modules[name]


def _empty() -> ModuleType:
    return ModuleType("scipy.stats")


def _compiler() -> ModuleType:
    """Stands for `torch._dynamo`, and gives its place up when asked for more than marks."""
    name = "torch._dynamo"
    module, spec = ModuleType(name), find_spec(name)
    module.__spec__ = spec
    module.__path__ = (spec and spec.submodule_search_locations) or []

    def mark(function: Any = None, *_: Any, **__: Any) -> Any:
        return function or mark

    def other(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        sys.modules.pop(name, None)
        return getattr(import_module(name), attribute)

    marks = dict.fromkeys(("allow_in_graph", "assume_constant_result", "disable"), mark)
    nothing_is_compiled = SimpleNamespace(OptimizedModule=())
    vars(module).update(marks, eval_frame=nothing_is_compiled, __getattr__=other)
    return module
