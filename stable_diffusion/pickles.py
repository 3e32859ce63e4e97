"""Pickles of torch, from which the places of tensors are read; nothing in them is run or built."""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass
from typing import Any

MOST_OPERATIONS = 2**20
"""The longest pickle that is read; a training's with its optimizer has some 100,000."""
MOST_DIMENSIONS = 8
DTYPES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.storage.UntypedStorage": "uint8",
}
"""The types of numbers, by the names that storages have in pickles."""
TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
TYPED_TENSOR = "torch._utils._rebuild_tensor_v3"
PARAMETER = "torch._utils._rebuild_parameter"
PARAMETERS = "torch.nn.modules.container.ParameterDict"
"""What the first embeddings of textual inversion have their vectors in."""
DICTIONARY, SIZE = "collections.OrderedDict", "torch.Size"
IGNORED = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "_codecs.encode",
    "__builtin__.set",
)
"""What is in files beside the weights: the training state in CompVis's, and torch's modules."""
NUMBER_TYPES = ("float8_e4m3fn", "float8_e5m2", *dict.fromkeys(DTYPES.values()))
KNOWN = {
    *(*DTYPES, *TENSORS, TYPED_TENSOR, PARAMETER, PARAMETERS, DICTIONARY, SIZE, *IGNORED),
    *(f"torch.{name}" for name in NUMBER_TYPES),
}
LITERALS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
"""The operations of a pickle that stand for a value."""


class PickleError(ValueError):
    """A pickle is broken, or not one of tensors."""


class ForeignError(PickleError):
    """A pickle asks for something that weights don't need; `name` says for what."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Named:
    """A function or class that a pickle names."""

    name: str


class Parameters(dict[str, Any]):
    """A module that holds parameters, which it gets when its state is built."""


@dataclass(frozen=True)
class Storage:
    """A row of numbers: its key in the file, its type and how many there are."""

    key: str
    dtype: str
    length: int


@dataclass(frozen=True)
class View:
    """A tensor: numbers of a storage from an offset on; all is counted in numbers."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Reader:
    """A machine for the operations that torch writes; other objects than these are None.

    storages: those that were named so far, by their keys.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self._operations = 0

    def read(self, file: io.BytesIO) -> Any:
        """Read one pickle: dicts, lists, tuples, texts, numbers, and a `View` for each tensor.

        Raises:
            PickleError: when it is broken, too long, or asks for something else.
        """
        try:
            return self._run(file)
        except PickleError:
            raise
        # pickletools raises ValueError; the others come from an empty stack or a foreign operand.
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise PickleError("it is not a whole file of tensors") from error

    def _run(self, file: io.BytesIO) -> Any:
        stack: list[Any] = []
        below: list[list[Any]] = []
        memo: dict[int, Any] = {}
        argument: Any
        for operation, argument, _ in pickletools.genops(file):
            self._operations += 1
            if self._operations > MOST_OPERATIONS:
                raise PickleError("it has more parts than weights have")
            match operation.name:
                case "PROTO":
                    pass
                case "STOP":
                    return stack.pop()
                case "GLOBAL":
                    stack.append(_named(argument.replace(" ", ".")))
                case "MARK":
                    below.append(stack)
                    stack = []
                case "TUPLE":
                    stack, items = below.pop(), stack
                    stack.append(tuple(items))
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    length = int(operation.name[-1])
                    stack[-length:] = [tuple(stack[-length:])]
                case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_SET":
                    empty: dict[str, Any] = {"TUPLE": (), "LIST": [], "DICT": {}, "SET": None}
                    stack.append(empty[operation.name.removeprefix("EMPTY_")])
                case "APPEND":
                    _extend(stack[-2], [stack.pop()])
                case "APPENDS":
                    stack, items = below.pop(), stack
                    _extend(stack[-1], items)
                case "SETITEM":
                    key, value = stack.pop(-2), stack.pop()
                    _update(stack[-1], [key, value])
                case "SETITEMS":
                    stack, items = below.pop(), stack
                    _update(stack[-1], items)
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "REDUCE" | "NEWOBJ":
                    arguments = stack.pop()
                    stack[-1] = _made(stack[-1].name, arguments)
                case "BUILD":
                    state = stack.pop()
                    if isinstance(stack[-1], Parameters):
                        stack[-1].update(_parameters(state))
                case "BINPERSID":
                    stack[-1] = self._storage(stack[-1])
                case _ if operation.name in CONSTANTS:
                    stack.append(CONSTANTS[operation.name])
                case _ if operation.name in LITERALS:
                    stack.append(argument)
                case _:
                    raise PickleError(f"it has the operation {operation.name}, which weights lack")
        raise PickleError("it is not a whole file of tensors")

    def _storage(self, described: Any) -> Storage:
        kind, numbers, key, _, length, *view = described
        if kind != "storage" or any(view) or not is_shape((length,)):
            raise PickleError("it has storages of no known kind")
        storage = Storage(str(key), DTYPES[numbers.name], length)
        return self.storages.setdefault(storage.key, storage)


def _named(name: str) -> Named:
    if name not in KNOWN:
        raise ForeignError(name)
    return Named(name)


def _made(name: str, arguments: Any) -> Any:
    """Return what a call gives; only calls that make nothing large are known."""
    if name in IGNORED:
        return None
    if name == PARAMETERS and arguments == ():
        return Parameters()
    if name == DICTIONARY and arguments == ():
        return {}
    if name == SIZE:
        return arguments[0]
    if name == PARAMETER:
        return arguments[0]
    if name not in (*TENSORS, TYPED_TENSOR):
        raise PickleError("it makes something that weights don't have")
    storage, offset, shape, stride = arguments[:4]
    dtype = storage.dtype
    if name == TYPED_TENSOR:
        dtype = arguments[6].name.removeprefix("torch.")
    if not is_shape(shape) or not is_shape(stride) or len(shape) != len(stride):
        raise PickleError("it has a tensor of impossible shape")
    if not is_shape((offset,)):
        raise PickleError("it has a tensor outside its storage")
    return View(storage, dtype, offset, shape, stride)


def _parameters(state: Any) -> dict[str, Any]:
    """Return the parameters in a module's state."""
    parameters = state.get("_parameters") if isinstance(state, dict) else None
    return parameters if isinstance(parameters, dict) else {}


def is_shape(numbers: Any) -> bool:
    """Return whether these can be the sizes of a tensor, of which those of weights have four."""
    return (
        isinstance(numbers, tuple)
        and len(numbers) <= MOST_DIMENSIONS
        and all(type(number) is int and 0 <= number < 2**63 for number in numbers)
    )


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)


def _update(target: Any, items: list[Any]) -> None:
    # Other keys than texts are no names of tensors, and some take long to hash.
    if isinstance(target, dict):
        target.update(
            (key, value)
            for key, value in zip(items[::2], items[1::2], strict=True)
            if isinstance(key, str)
        )
