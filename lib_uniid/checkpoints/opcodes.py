"""An interpreter for the pickle instructions that ``torch.save`` writes for weights, without unpickling.

A pickle is a program. Here each instruction is read with the standard library's ``pickletools`` and acts on
plain values: nothing that a file names is imported, called or hashed. The number of instructions and the
bytes of ``BoundedReader`` are limited.
"""

import io
from collections.abc import Callable, Mapping
from io import BufferedIOBase
from pathlib import Path
from pickletools import opcodes
from typing import Any, no_type_check

MAX_STEPS = 600_000
"""Instructions of one pickle; a checkpoint of 2 500 tensors has about 80 000."""

MAX_NAME = 1000
"""Characters of a tensor's name, and of a line."""

Known = Mapping[tuple[str, str], Any]
"""Globals that a pickle may name, and their stand-ins; a function is called with plain values."""

_AGAIN = "download it again"
_OPCODES = {op.code: op for op in opcodes}


class PickleError(Exception):
    """What is wrong with the file and what to do; the caller puts the file's name before it."""


class BoundedReader(io.BufferedReader):
    """A file that returns at most ``left`` bytes and then raises ``PickleError``."""

    def __init__(self, path: Path, left: int) -> None:
        super().__init__(io.FileIO(path))
        self.left = left

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.left:
            raise PickleError(
                f"has more data besides its tensors than weights have, so it is refused; {_AGAIN}"
            )
        data = super().read(size)
        self.left -= len(data)
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        return super().readline(MAX_NAME if size is None or size < 0 else min(size, MAX_NAME))


def follow(stream: BufferedIOBase, known: Known, stored: Callable[[Any], Any]) -> Any:
    """The value of the next pickle of a stream; ``stored`` gives the stand-in for a tensor's storage.

    Raises:
        PickleError: an instruction or a name that weights do not need, or a damaged pickle.
    """
    try:
        return _Machine(known, stored).run(stream)
    except PickleError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly any error
        raise PickleError(f"is a truncated or damaged PyTorch file ({error}); {_AGAIN}") from error


@no_type_check  # tests check the types of every call, which would take most of their time here
class _Machine:
    def __init__(self, known: Known, stored: Callable[[Any], Any]) -> None:
        self.known, self.stored = known, stored
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.spent = 0
        """Number of items passed to calls; each call copies them, and one value can be passed repeatedly."""

    def run(self, stream: BufferedIOBase) -> Any:
        read = stream.read
        for _ in range(MAX_STEPS):
            code = read(1)
            if code == b".":
                return self.stack.pop()
            if code not in _STEPS:
                raise PickleError(_unknown(code))
            argument, step = _STEPS[code]
            step(self, argument(stream) if argument else None)
        raise PickleError(f"has more than {MAX_STEPS} instructions, so it is refused; {_AGAIN}")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def popped(self) -> list[Any]:
        """Everything above the last mark."""
        begin = self.marks.pop()
        values = self.stack[begin:]
        del self.stack[begin:]
        return values

    def last(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def name(self, words: str) -> None:
        module, _, name = words.partition(" ")
        if (module, name) not in self.known:
            raise PickleError(
                f"would run {module}.{name} when loaded, which weights never need, so it is refused; "
                "get the file from its official source, or a safetensors version of it"
            )
        self.push(self.known[module, name])

    def call(self) -> None:
        function, arguments = self.last(2)
        self.spent += sum(len(one) for one in arguments if isinstance(one, str | bytes | tuple | list | dict))
        if self.spent > MAX_STEPS:
            raise PickleError(f"has calls on more than {MAX_STEPS} values, so it is refused; {_AGAIN}")
        self.push(function(*arguments))

    def put(self, pairs: tuple[Any, ...] | list[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[checked(key)] = value

    def extend(self, values: tuple[Any, ...] | list[Any]) -> None:
        self.stack[-1].extend(values)

    def drop_state(self) -> None:
        """Drop an object's state, which has no shapes."""
        self.last(1)


@no_type_check  # called for every name
def checked(key: Any) -> str | int:
    """A key of a dictionary of tensors; hashing other types may not end. Raises ``PickleError``."""
    if type(key) not in (str, int) or (type(key) is str and len(key) > MAX_NAME):
        raise PickleError(f"has a key that is not a tensor's name, so it is refused; {_AGAIN}")
    return key


def _unknown(code: bytes) -> str:
    if not code:
        return f"is a truncated or damaged PyTorch file (it ends too early); {_AGAIN}"
    name = _OPCODES[chr(code[0])].name if chr(code[0]) in _OPCODES else repr(code)
    return (
        "is a truncated or damaged PyTorch file, or a pickle of another type "
        f"(it has the instruction {name}, which weights never need); {_AGAIN}"
    )


def _steps() -> dict[bytes, tuple[Callable[[Any], Any] | None, Callable[[_Machine, Any], None]]]:
    """By an instruction's byte: the reader of its argument, and its action."""
    m, constants = _Machine, {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
    does: dict[str, Callable[[_Machine, Any], None]] = {
        name: (lambda machine, _, value=value: machine.push(value)) for name, value in constants.items()
    }
    does |= dict.fromkeys(("BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1", "BINUNICODE"), m.push)
    does |= dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), m.push)
    does |= dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda one, n: one.memo.update({n: one.stack[-1]}))
    does |= dict.fromkeys(("BINGET", "LONG_BINGET"), lambda one, n: one.push(one.memo[n]))
    does |= {
        "PROTO": lambda one, _: None,
        "MARK": lambda one, _: one.marks.append(len(one.stack)),
        "EMPTY_DICT": lambda one, _: one.push({}),
        "EMPTY_LIST": lambda one, _: one.push([]),
        "TUPLE": lambda one, _: one.push(tuple(one.popped())),
        "TUPLE1": lambda one, _: one.push(one.last(1)),
        "TUPLE2": lambda one, _: one.push(one.last(2)),
        "TUPLE3": lambda one, _: one.push(one.last(3)),
        "APPEND": lambda one, _: one.extend(one.last(1)),
        "APPENDS": lambda one, _: one.extend(one.popped()),
        "SETITEM": lambda one, _: one.put(one.last(2)),
        "SETITEMS": lambda one, _: one.put(one.popped()),
        "GLOBAL": m.name,
        "REDUCE": lambda one, _: one.call(),
        "BUILD": lambda one, _: one.drop_state(),
        "BINPERSID": lambda one, _: one.push(one.stored(one.last(1)[0])),
    }
    known = [op for op in _OPCODES.values() if op.name in does]
    return {
        op.code.encode("latin-1"): (None if op.arg is None else op.arg.reader, does[op.name]) for op in known
    }


_STEPS = _steps()
