"""Reader of pickles that calls nothing: plain values, and stand-ins for everything else.

It follows the opcodes of Python's pickle protocols 0 to 5 (Lib/pickletools.py), never imports a
name that a pickle states, and never calls one. So a pickle can build lists, dictionaries, texts and
numbers, and describe tensors; ``__reduce__`` describes a call that does not happen.
"""

from __future__ import annotations

import pickletools
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from fer_edge.errors import CheckpointError

_MOST_OPCODES = 20_000_000
"""Largest number of opcodes; the training state of a network with 1,000 tensors has 100,000."""
_DICTIONARIES = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict")
_PLAIN_KEYS = (str, int, float, bytes, bool, type(None))
_TEXT_OF_NAMES = frozenset(string.ascii_letters + string.digits + "._<>")


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names; not imported.

    Attributes:
        path: Module and name, with dots.
    """

    path: str

    @property
    def shown(self) -> str:
        """Name for messages."""
        return "".join(c if c in _TEXT_OF_NAMES else "?" for c in self.path[:80])


@dataclass
class Call:
    """A call or an object that a pickle describes; not executed.

    Attributes:
        of: The name that would be called, or another value.
        arguments: Its arguments.
        state: State of the object, if the pickle has one.
    """

    of: Any
    arguments: tuple[Any, ...]
    state: Any = None

    @property
    def path(self) -> str:
        """Module and name of what would be called; empty for anything else."""
        return self.of.path if isinstance(self.of, Name) else ""


@dataclass(frozen=True)
class Reference:
    """A persistent id: torch stores tensors' values beside the pickle under it.

    Attributes:
        value: The id.
    """

    value: Any


@dataclass
class Values:
    """Content of a pickle.

    Attributes:
        top: Its value.
        names: Each class or function that it names.
        references: Each persistent id in it.
    """

    top: Any = None
    names: list[Name] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)


_MARK = object()

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}
_LITERALS = (
    "INT", "LONG", "FLOAT", "STRING", "UNICODE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4",
    "BINFLOAT", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
_IGNORED = ("PROTO", "FRAME", "NEXT_BUFFER", "READONLY_BUFFER")


def read_pickle(file: BinaryIO) -> Values:
    """Read one pickle and leave the file behind it.

    Args:
        file: File at the start of a pickle.

    Raises:
        CheckpointError: The pickle is damaged.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument)
        machine.values.top = machine.stack.pop()
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError) as error:
        raise CheckpointError(f"the pickle in it is damaged: {str(error)[:100]}") from error
    return machine.values


class _Machine:
    """Stack and memo of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.values = Values()
        self.steps = self.rows = 0

    def step(self, name: str, argument: Any) -> None:
        self.steps += 1
        if self.steps > _MOST_OPCODES:
            raise ValueError("it has too many parts")
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(argument)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[int(argument)])
        elif name not in _IGNORED:
            getattr(self, f"_{name.lower()}")(argument)

    def _since_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                values = self.stack[i + 1 :]
                del self.stack[i:]
                return values
        raise ValueError("a mark is missing")

    def _named(self, path: str) -> None:
        name = Name(path)
        self.values.names.append(name)
        self.stack.append(name)

    def _call(self, of: Any, arguments: Any) -> None:
        call = Call(of, arguments if isinstance(arguments, tuple) else (arguments,))
        self.stack.append(self._dictionary(call) if call.path in _DICTIONARIES else call)

    def _dictionary(self, call: Call) -> dict[Any, Any]:
        """Return a new dictionary with the rows of an ordered one."""
        rows = call.arguments[0] if call.arguments else []
        if not isinstance(rows, list):
            return {}
        self.rows += len(rows)
        if self.rows > self.steps:  # each row takes steps, unless one list serves many calls
            raise ValueError("it repeats its rows")
        pairs = [row for row in rows if isinstance(row, list | tuple) and len(row) == 2]
        return {key: value for key, value in pairs if isinstance(key, _PLAIN_KEYS)}

    def _stop(self, _: Any) -> None:
        pass

    def _mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    _frozenset = _list

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: Any) -> None:
        self.stack[-1:] = [tuple(self.stack[-1:])]

    def _tuple2(self, _: Any) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def _tuple3(self, _: Any) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def _dict(self, _: Any) -> None:
        values = self._since_mark()
        self.stack.append({})
        self._set(values)

    def _append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    _additems = _appends

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):  # a subclass of list is a Call, and stays empty
            self.stack[-1].extend(values)

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, _: Any) -> None:
        self._set(self._since_mark())

    def _set(self, values: list[Any]) -> None:
        owner = self.stack[-1]
        for key, value in _pairs(values):
            if isinstance(owner, dict) and isinstance(key, _PLAIN_KEYS):
                owner[key] = value

    def _global(self, argument: str) -> None:
        self._named(argument.replace(" ", ".", 1))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name is no text")
        self._named(f"{module}.{name}")

    def _ext1(self, _: Any) -> None:
        self._named("copyreg.extension")

    _ext2 = _ext4 = _ext1

    def _reduce(self, _: Any) -> None:
        arguments, of = self.stack.pop(), self.stack.pop()
        self._call(of, arguments)

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        _, arguments, of = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._call(of, arguments)

    def _inst(self, argument: str) -> None:
        arguments = tuple(self._since_mark())
        self._named(argument.replace(" ", ".", 1))
        self._call(self.stack.pop(), arguments)

    def _obj(self, _: Any) -> None:
        of, *arguments = self._since_mark()
        self._call(of, tuple(arguments))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Call):
            self.stack[-1].state = state

    def _persid(self, argument: str) -> None:
        self._refer(argument)

    def _binpersid(self, _: Any) -> None:
        self._refer(self.stack.pop())

    def _refer(self, value: Any) -> None:
        reference = Reference(value)
        self.values.references.append(reference)
        self.stack.append(reference)


def _pairs(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    if len(values) % 2:
        raise ValueError("a key has no value")
    return zip(values[::2], values[1::2], strict=True)
