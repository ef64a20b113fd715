"""Tensors of weights files: safetensors and torch files of other training programs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from fer_edge.errors import CheckpointError
from fer_edge.paths import as_path
from fer_edge.training.models.pickle_values import Call, Name, Reference
from fer_edge.training.models.torch_file import is_tensor, read_torch_file

_WRAPPERS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema", "shadow",
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "params",
    "weights",
)  # fmt: skip
"""Keys under which training programs store their tensors; averaged weights come first."""
_MOST_WRAPPED = 4
_Value = TypeVar("_Value")
_PREFIXES = ("module.", "_orig_mod.", "backbone.")
_WRAPPER_PREFIXES = ("model.", "net.", "network.", "ema_model.")
"""Prefixes of modules that only wrap the network. A network can have such a part of its own, so
they are removed only from files in which most tensors have them."""
_HARMLESS_BUILTINS = (
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object",
    "range", "set", "slice", "str", "tuple",
)  # fmt: skip
_RUNS_CODE = (
    "builtins", "__builtin__", "os", "posix", "nt", "sys", "subprocess", "shutil", "runpy", "pty",
    "importlib", "ctypes", "socket", "marshal", "code", "commands", "webbrowser", "asyncio",
    "multiprocessing", "pip", "pickle", "_pickle", "cloudpickle", "operator", "timeit", "pdb",
)  # fmt: skip
"""Modules that a training state does not need. A file that names one is not from a training
program."""
_REFUSED = (
    "A pickled module can run any code, and breaks with other releases of timm. Load it in its "
    "own project, and save model.state_dict()"
)


@dataclass(frozen=True)
class StateDict:
    """Tensors of a weights file.

    Attributes:
        tensors: Tensors by name, without prefixes.
        sha256: SHA-256 of the file.
        key: Where in a training state the tensors were, such as ``state_dict_ema``; may be empty.
        prefix: Prefix that was removed from their names; may be empty.
        unread: Names of tensors of a type that cannot be read.
    """

    tensors: dict[str, Tensor]
    sha256: str
    key: str = ""
    prefix: str = ""
    unread: tuple[str, ...] = ()


def read_weights(path: str | Path, names: Collection[str] = ()) -> StateDict:
    """Read the tensors of a ``.safetensors`` or torch file; nothing in it is executed.

    Finds the tensors in a training state, and removes the prefix of wrapping modules. Where a file
    holds several networks, ``names`` tells which one; averaged weights come first. Under unknown
    keys, the dictionary with the most of ``names`` counts.

    Args:
        path: Path of the file.
        names: Names of the network's tensors, if known.

    Returns:
        The tensors and their place in the file.

    Raises:
        CheckpointError: The file cannot be read, or holds a pickled module or no tensors.
    """
    path = as_path(path, "the weights")
    try:
        if not path.is_file():
            raise CheckpointError(f"expected a file of weights at {path}, found none")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"cannot read weights {path}: {error.strerror}. Check the path"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    key = ""
    unread: tuple[str, ...] = ()
    try:
        state = safetensors.torch.load(data)
    except KeyError as error:
        raise CheckpointError(
            f"{path} has values of the type {error}, which cannot be read. Save them as float32"
        ) from error
    except SafetensorError as not_safetensors:
        if path.suffix == ".safetensors":
            raise CheckpointError(f"{path} is damaged: {not_safetensors}") from not_safetensors
        state, key, unread = _torch_tensors(path, data, names)
    known, prefix = _without_prefixes(state)
    if names and (better := _fitting_prefix(known, names)):
        prefix += better
        known = {name.removeprefix(better): value for name, value in known.items()}
    return StateDict(known, digest, key, prefix, unread)


def _without_prefixes(state: dict[str, _Value]) -> tuple[dict[str, _Value], str]:
    """Remove the prefixes of wrapping modules, in any order of them."""
    removed = ""
    while prefix := next((p for p in (*_PREFIXES, *_WRAPPER_PREFIXES) if _wraps(p, state)), None):
        removed += prefix
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state, removed


def _wraps(prefix: str, state: Collection[str]) -> bool:
    count = sum(name.startswith(prefix) for name in state)
    return count > 0 and (prefix in _PREFIXES or 2 * count > len(state))


def _fitting_prefix(state: Collection[str], names: Collection[str]) -> str:
    """Return the prefix with which most of the network's tensors are in the file."""
    probes = sorted(names, key=len)[-3:]
    prefixes = {
        name.removesuffix(probe)
        for name in state
        for probe in probes
        if name.endswith(f".{probe}") or name == probe
    }

    def rank(prefix: str) -> tuple[int, bool, int]:
        count = sum(f"{prefix}{name}" in state for name in names)
        return count, "ema" in prefix.lower() or "averag" in prefix.lower(), -len(prefix)

    return max({*prefixes, ""}, key=rank)


def _torch_tensors(
    path: Path, data: bytes, names: Collection[str]
) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """Return the tensors by name, their key, and the names of those that cannot be read."""
    try:
        top, tensor_of, named = read_torch_file(data)
    except CheckpointError as error:
        raise CheckpointError(
            f"expected safetensors, or a torch file of tensors, got {path}: {error}"
        ) from error
    if runs := next(filter(_runs_code, named), None):
        raise CheckpointError(
            f"{path} names {runs.shown}, which a file of tensors does not need: nothing of it was "
            f"run. {_REFUSED}"
        )

    def rank(pair: tuple[dict[str, Any], tuple[str, ...]]) -> tuple[int, int]:
        readable = {name: value for name, value in pair[0].items() if tensor_of(value)}
        return _fitting(readable, names), _fitting(pair[0], names)

    found, keys = _unwrapped(top, tensor_of)
    if not any(map(tensor_of, found.values())):
        found, keys = _unwrapped(top, is_tensor)
    if not rank((found, keys))[0] and (names or not _holds_objects(top)):
        found, keys = max([(found, keys), *_dictionaries(top)], key=rank)
    tensors = {name: tensor for name, value in found.items() if (tensor := tensor_of(value))}
    unread = tuple(name for name in found if name not in tensors)
    if not tensors:
        if isinstance(top, Call | Reference) or _holds_objects(top):
            raise CheckpointError(
                f"expected safetensors, or a torch file of tensors only, got {path}. {_REFUSED}"
            )
        kinds = f", but {len(unread)} of a type that cannot be read" if unread else ""
        raise CheckpointError(
            f"expected tensors by name in {path}, found none{kinds}. Save model.state_dict() in "
            "float32"
        )
    try:
        return {name: value.load() for name, value in tensors.items()}, ".".join(keys), unread
    except CheckpointError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _unwrapped(
    state: Any, counts: Callable[[Any], Any], depth: int = 0
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what describes tensors, by name, and the known keys that lead to it.

    Keys that lead to no tensor which ``counts`` are passed over.
    """
    if not isinstance(state, dict):
        return {}, ()
    for key in _WRAPPERS if depth < _MOST_WRAPPED else ():
        if key in state:
            found, keys = _unwrapped(state[key], counts, depth + 1)
            if any(map(counts, found.values())):
                return found, (key, *keys)
    return _described(state), ()


def _described(state: dict[Any, Any]) -> dict[str, Any]:
    return {k: v for k, v in state.items() if isinstance(k, str) and is_tensor(v)}


def _dictionaries(top: Any) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """Yield what describes tensors in each dictionary, and its keys; the outer ones first."""
    level: list[tuple[Any, tuple[str, ...]]] = [(top, ())]
    seen: set[int] = set()
    for _ in range(_MOST_WRAPPED + 1):
        inner: list[tuple[Any, tuple[str, ...]]] = []
        for value, keys in level:
            if id(value) in seen or not isinstance(value, dict | list | tuple):
                continue
            seen.add(id(value))
            if isinstance(value, dict):
                yield _described(value), keys
                inner += [(v, (*keys, k)) for k, v in value.items() if isinstance(k, str)]
            else:
                inner += [(v, (*keys, str(i))) for i, v in enumerate(value)]
        level = inner


def _fitting(found: dict[str, Any], names: Collection[str]) -> int:
    """Return how many of the network's tensors are found, or all that are if it is not known."""
    if not names or not found:
        return len(found)
    known, _ = _without_prefixes(found)
    prefix = _fitting_prefix(known, names)
    return sum(f"{prefix}{name}" in known for name in names)


def _holds_objects(state: Any) -> bool:
    return isinstance(state, dict) and any(isinstance(state.get(key), Call) for key in _WRAPPERS)


def _runs_code(name: Name) -> bool:
    module, _, rest = name.path.partition(".")
    if module in ("builtins", "__builtin__"):
        return rest not in _HARMLESS_BUILTINS
    return module in _RUNS_CODE
