"""Counts operations, bytes and collectives of a compiled program, and estimates its time.

A loop's body counts as often as it runs, unlike in XLA's own `cost_analysis`.
"""

import dataclasses
import math
import re
from collections import Counter
from typing import NamedTuple

import numpy as np

from experiments.plan.hlo import Array, Computation, Instruction, Program
from experiments.plan.targets import Target

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
# They move no data: names of values, or work that another instruction is counted for.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota"),
    *("partition-id", "replica-id", "opt-barrier", "copy-start", "slice-start", "async-start"),
    *("async-update", "domain", "add-dependency", "infeed", "outfeed", "rng-bit-generator"),
}
_FREE_CALLS = re.compile(
    r'custom_call_target="(ConcatBitcast|Assume\w*|GatherScatter\w*|Sharding)"'
)
_TRIPS = re.compile(r'known_trip_count"?:\s*\{"?n"?:\s*"?(\d+)')
_WINDOW = re.compile(r"window=\{([^}]*)\}")
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_DIMS = re.compile(r'(\w+_dim(?:ension)?s)"?[=:][\[{]([\d,"]*)[\]}]')
_PRECISION = re.compile(r'operand_precision"?[=:][\[{]"?(\w+)', re.IGNORECASE)
_GROUPS = re.compile(r"replica_groups=\{\{([\d,]+)\}|replica_groups=\[\d+,(\d+)\]")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\S*\))?\s*\{([^}]*)\}")
ASSUMPTIONS = (
    "An estimate: products at the data sheet's peak, or each kernel's operands and results at the "
    "full bandwidth of the main memory, without caches; the longer of the two counts. Then "
    "collectives at a link's full rate, not overlapped. Reading data and starting kernels take no "
    "time."
)


@dataclasses.dataclass
class Costs:
    """The operations of one device in one run of a program.

    Attributes:
        flops: operations of matrix products and convolutions by the type of their operands: "bf16"
            for 16-bit floats, "f32", "f32 high" and "f32 default" by precision. A multiply-add is
            two.
        bytes: bytes read from and written to main memory; an instruction, or a fusion of several,
            reads its operands and writes its result.
        collectives: bytes by kind and devices that take part, ("all-reduce", 8).
        counts: number of collectives by kind.
        unknown_loops: loops whose number of iterations is not known; they count once.
    """

    flops: Counter[str] = dataclasses.field(default_factory=Counter)
    bytes: float = 0.0
    collectives: Counter[tuple[str, int]] = dataclasses.field(default_factory=Counter)
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    unknown_loops: int = 0

    def add(self, other: "Costs", times: int = 1) -> None:
        """Adds the costs of a part that runs `times` times."""
        for mine, theirs in (
            (self.flops, other.flops),
            (self.collectives, other.collectives),
            (self.counts, other.counts),
        ):
            for key, value in theirs.items():
                mine[key] += times * value  # type: ignore[index]
        self.bytes += times * other.bytes
        self.unknown_loops += other.unknown_loops


def count(program: Program) -> Costs:
    """Returns the costs of a program."""
    return _Counter(program).of(program.entry, inside_fusion=False)


class _Counter:
    def __init__(self, program: Program):
        self._program = program
        self._known: dict[tuple[str, bool], Costs] = {}

    def of(self, name: str, inside_fusion: bool) -> Costs:
        """Returns the costs of a computation; inside a fusion nothing moves to memory."""
        key = name, inside_fusion
        if key not in self._known:
            here, total = self._program.computations[name], Costs()
            for one in here.instructions.values():
                self._add(total, one, here, inside_fusion)
            self._known[key] = total
        return self._known[key]

    def _add(self, total: Costs, one: Instruction, here: Computation, inside_fusion: bool) -> None:
        kind = one.opcode.removesuffix("-start")
        if one.opcode == "while":
            trips = self._trips(one)
            total.unknown_loops += trips is None
            total.add(self.of(one.called("body"), inside_fusion), trips or 1)
        elif one.opcode == "conditional":
            costs = [self.of(branch, inside_fusion) for branch in one.branches]
            total.add(max(costs, key=lambda each: sum(each.flops.values()) + each.bytes))
        elif one.opcode == "call":
            total.add(self.of(one.called("to_apply"), inside_fusion))
        elif one.opcode in ("fusion", "async-start") and one.called("calls"):
            fused = one.opcode == "fusion"
            total.add(self.of(one.called("calls"), inside_fusion or fused))
            if fused and not inside_fusion:
                total.bytes += self._fusion_bytes(one, here)
        elif kind in COLLECTIVES:
            moved = max(one.arrays, key=lambda array: array.bytes).bytes
            if one.opcode == kind:
                moved = max(one.bytes, sum(each.bytes for each in here.operands(one)))
            total.collectives[kind, group_size(one.attributes)] += moved
            total.counts[kind] += 1
        else:
            total.flops.update(product_flops(one, here))
            if not inside_fusion:
                total.bytes += _bytes(one, here)

    def _trips(self, loop: Instruction) -> int | None:
        if known := _TRIPS.search(loop.attributes):
            return int(known[1])
        names, bounds = [loop.called("condition")], set()
        while names:
            for one in self._program.computations[names.pop()].instructions.values():
                if one.opcode == "constant" and one.shape.startswith(("s32", "u32")):
                    bounds.add(int(one.attributes.split(")")[0]))
                names += filter(None, [one.called("calls"), one.called("to_apply")])
        # Loops of `scan` count from 0 to the only constant of their condition.
        return bounds.pop() if len(bounds) == 1 else None

    def _fusion_bytes(self, one: Instruction, here: Computation) -> int:
        inside = self._program.computations[one.called("calls")]
        updates = _updates(inside)
        moved = 0 if updates else one.moved
        for parameter, operand in zip(inside.parameters, here.operands(one), strict=False):
            if not operand.moved:
                continue
            if any(update.operands[0] == parameter.name for update in updates):
                continue  # updated in place
            moved += min(operand.moved, self._read(parameter, inside))
        return moved + 2 * sum(inside.instructions[one.operands[1]].bytes for one in updates)

    def _read(self, value: Instruction, inside: Computation) -> int:
        """Returns the bytes that a fusion reads of a value: of slices, only theirs."""
        read = 0
        for user in inside.users(value.name):
            if user.opcode in ("dynamic-slice", "slice", "gather"):
                read += user.bytes
            elif user.opcode == "fusion":  # a fusion inside of a fusion
                nested = self._program.computations[user.called("calls")]
                for parameter, operand in zip(nested.parameters, user.operands, strict=False):
                    if operand == value.name:
                        read += self._read(parameter, nested)
            else:
                return value.bytes
        return read


def _updates(inside: Computation) -> list[Instruction]:
    """Returns the updates of slices that are a fusion's result, and so happen in place."""
    root = inside.root
    while root.opcode == "bitcast":
        root = inside.operands(root)[0]
    results = inside.operands(root) if root.opcode == "tuple" else [root]
    return [one for one in results if one.opcode == "dynamic-update-slice"]


def _bytes(one: Instruction, here: Computation) -> int:
    if one.opcode in _FREE or (one.opcode == "custom-call" and _FREE_CALLS.search(one.attributes)):
        return 0
    operands = here.operands(one)
    if one.opcode.endswith("-done"):  # an asynchronous copy from or to on-chip memory
        start = operands[0] if operands else one
        sources = here.operands(start)
        read = one.bytes if sources and sources[0].moved else 0
        return read + one.moved
    if one.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * one.moved
    if one.opcode == "dynamic-update-slice":
        return 2 * operands[1].moved
    if one.opcode == "scatter":
        return 3 * operands[-1].moved
    # A library's product also returns its workspace.
    written = one.arrays[0].moved if "__cu" in one.attributes else one.moved
    return written + sum(operand.moved for operand in operands)


def product_flops(one: Instruction, here: Computation) -> dict[str, int]:
    """Returns the operations of a matrix product or convolution by type; else an empty dict."""
    is_product = one.opcode in ("dot", "convolution")
    if one.opcode == "custom-call":
        is_product = bool(_DIMS.search(one.attributes)) or "$conv" in one.attributes
    operands = here.operands(one)
    if not is_product or len(operands) < 2:
        return {}
    left, right, result = (each.arrays[0] for each in (*operands[:2], one))
    if labels := _LABELS.search(one.attributes):
        number = _convolution(left, right, result, labels.groups(), one.attributes)
    else:
        axes = dict(_DIMS.findall(one.attributes))
        listed = axes.get("lhs_contracting_dims") or axes.get("lhs_contracting_dimensions") or ""
        contracted = [int(axis) for axis in listed.replace('"', "").split(",") if axis]
        number = 2 * math.prod(result.sizes) * math.prod(left.sizes[axis] for axis in contracted)
    return {_type_of(left, one.attributes): number}


def _type_of(left: Array, attributes: str) -> str:
    if left.dtype != "f32":
        return "bf16"
    precision = _PRECISION.search(attributes)
    name = precision[1].lower() if precision else "default"
    return "f32" if name == "highest" else f"f32 {name}"


def _convolution(
    left: Array, right: Array, result: Array, labels: tuple[str, ...], attributes: str
) -> int:
    """Counts only products that the padding and dilation of a convolution do not make zero."""
    window: dict[str, list[str]] = {}
    if found := _WINDOW.search(attributes):
        window = {
            key: value.split("x") for key, value in (part.split("=") for part in found[1].split())
        }
    number = 2 * right.sizes[labels[1].index("i")]
    for axis, label in enumerate(labels[2]):
        if label in "bf":
            number *= result.sizes[axis]
    for axis, size in enumerate(window.get("size", [])):
        padding = int(window["pad"][axis].split("_")[0]) if "pad" in window else 0
        step, spread, dilate = (
            int(window[key][axis]) if key in window else 1
            for key in ("stride", "lhs_dilate", "rhs_dilate")
        )
        outputs = result.sizes[labels[2].index(str(axis))]
        inputs = left.sizes[labels[0].index(str(axis))]
        place = step * np.arange(outputs)[:, None] + dilate * np.arange(int(size)) - padding
        inside = (place >= 0) & (place <= (inputs - 1) * spread) & (place % spread == 0)
        number *= int(inside.sum())
    return number


def group_size(attributes: str) -> int:
    """Returns the number of devices that exchange data in a collective; 1 if it does not say."""
    if listed := _GROUPS.search(attributes):
        return len(listed[1].split(",")) if listed[1] else int(listed[2])
    if mesh := _MESH.search(attributes):
        sizes = {name: int(size) for name, size in re.findall(r"'?(\w+)'?=(\d+)", mesh[1])}
        return math.prod(sizes[name] for name in re.findall(r"'(\w+)'", mesh[2]))
    return 1


class Estimate(NamedTuple):
    """Seconds of one run of a program, by what takes them."""

    products: float
    memory: float
    collectives: float

    @property
    def seconds(self) -> float:
        """Returns the seconds of one run."""
        return max(self.products, self.memory) + self.collectives

    @property
    def bound(self) -> str:
        """Returns what takes the most time."""
        return max(self._fields, key=lambda name: getattr(self, name))


def estimate(costs: Costs, target: Target) -> Estimate | None:
    """Returns the roofline's estimate; None for a target whose peak rates are not known."""
    chip = target.chip
    if not chip.peaks:
        return None
    products = sum(number / chip.peaks[kind] for kind, number in costs.flops.items())
    sent = sum(_sent(kind, size) * moved for (kind, size), moved in costs.collectives.items())
    return Estimate(products, costs.bytes / chip.bandwidth, sent / target.link)


def _sent(kind: str, size: int) -> float:
    """Returns the bytes that a device sends per byte of a collective's array, in a ring."""
    share = (size - 1) / size
    return 2 * share if kind == "all-reduce" else 1.0 if kind == "collective-permute" else share
