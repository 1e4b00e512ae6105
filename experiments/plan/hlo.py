"""Parses the text of a compiled XLA program into computations and instructions."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_BITS = {"pred": 8, "s4": 4, "u4": 4, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.$-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.$-]+) = (.*)$")
_OPERAND = re.compile(r"%([\w.$-]+)")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|true_computation|false_computation)=%([\w.$-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_FAST_MEMORY = re.compile(r"S\([1-9]\d*\)")  # a TPU's on-chip memory


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of a shape.

    Attributes:
        dtype: XLA's name, e.g. "bf16".
        sizes: sizes of the axes.
        on_chip: whether it lies in on-chip memory, not in the device's main memory.
    """

    dtype: str
    sizes: tuple[int, ...]
    on_chip: bool = False

    @property
    def bytes(self) -> int:
        """Returns the bytes of its elements, without padding."""
        digits = re.search(r"\d+", self.dtype)
        bits = _BITS.get(self.dtype) or (int(digits[0]) if digits else 0)
        return math.prod(self.sizes) * bits // 8

    @property
    def moved(self) -> int:
        """Returns the bytes that reading or writing it moves to or from main memory."""
        return 0 if self.on_chip else self.bytes


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction of a computation; `attributes` is the text after its operands."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    @functools.cached_property
    def arrays(self) -> tuple[Array, ...]:
        """Returns the arrays of its result."""
        return tuple(
            Array(
                dtype,
                tuple(int(size) for size in sizes.split(",") if size),
                bool(_FAST_MEMORY.search(layout or "")),
            )
            for dtype, sizes, layout in _ARRAY.findall(self.shape)
        )

    @property
    def bytes(self) -> int:
        """Returns the bytes of its result."""
        return sum(array.bytes for array in self.arrays)

    @property
    def moved(self) -> int:
        """Returns the bytes of its result that lie in main memory."""
        return sum(array.moved for array in self.arrays)

    def called(self, role: str) -> str:
        """Returns the name of the computation that it calls as `role`, "" if there is none."""
        return dict(_CALLED.findall(self.attributes)).get(role, "")

    @property
    def branches(self) -> list[str]:
        """Returns the names of a conditional's computations."""
        listed = _BRANCHES.search(self.attributes)
        if listed:
            return _OPERAND.findall(listed[1])
        return [name for role, name in _CALLED.findall(self.attributes) if role.endswith("tation")]


@dataclasses.dataclass
class Computation:
    """A computation: its instructions by name, in order."""

    instructions: dict[str, Instruction]

    @property
    def root(self) -> Instruction:
        """Returns the instruction that computes the result."""
        return next(one for one in self.instructions.values() if one.is_root)

    def operands(self, instruction: Instruction) -> list[Instruction]:
        """Returns the operands of an instruction."""
        return [
            self.instructions[name] for name in instruction.operands if name in self.instructions
        ]

    def users(self, name: str) -> Iterator[Instruction]:
        """Yields the instructions that use a value, also after a change of its shape alone."""
        for one in self.instructions.values():
            if name in one.operands:
                if one.opcode == "bitcast" and not one.is_root:
                    yield from self.users(one.name)
                else:
                    yield one

    @functools.cached_property
    def parameters(self) -> list[Instruction]:
        """Returns the parameters in the order of their numbers."""
        found = [one for one in self.instructions.values() if one.opcode == "parameter"]
        return sorted(found, key=lambda one: int(one.attributes.split(")")[0]))


@dataclasses.dataclass
class Program:
    """A compiled program: its computations by name."""

    computations: dict[str, Computation]
    entry: str


def parse(text: str) -> Program:
    """Returns the computations of a program, the result of `compiled.as_text()`."""
    computations: dict[str, Computation] = {}
    entry, here = "", None
    for line in text.splitlines():
        if head := _HEAD.match(line):
            here = computations[head[2]] = Computation({})
            entry = head[2] if head[1] else entry
        elif here is not None and (match := _INSTRUCTION.match(line)):
            root, name, rest = match.groups()
            here.instructions[name] = _instruction(name, rest, bool(root))
    return Program(computations, entry)


def _instruction(name: str, rest: str, is_root: bool) -> Instruction:
    before, _, after = rest.partition(", metadata={")
    # A source's name may hold any sign, but no closing brace.
    rest = before + after.partition("}")[2]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    shape, call = rest[:end], rest[end:].lstrip()
    opcode, _, inside = call.partition("(")
    close = _closing(call, len(opcode))
    inside = call[len(opcode) + 1 : close]
    number = f"{inside})" if opcode in ("parameter", "constant") else ""
    return Instruction(
        name, shape, opcode, tuple(_OPERAND.findall(inside)), number + call[close + 1 :], is_root
    )


def _closing(text: str, start: int) -> int:
    """Returns the index of the parenthesis that closes the one at `start`."""
    depth, place = 0, start
    for match in re.finditer(r"[()]", text[start:]):
        depth += 1 if match[0] == "(" else -1
        place = start + match.start()
        if not depth:
            break
    return place
