"""Formats plans."""

from experiments.config.config import Config
from experiments.plan.compiling import Compiled
from experiments.plan.costs import ASSUMPTIONS, estimate
from experiments.plan.targets import Target

__all__ = ["ASSUMPTIONS", "describe", "title"]


def title(config: Config, target: Target, classes: int) -> str:
    """Returns the first line of a plan."""
    of = f", {classes:,} classes" if classes else ""
    mesh = f", {config.mesh}" if config.mesh else ""
    return (
        f"{config.method}, {config.backbone}, {config.dtype}{of}, batch {config.batch_size} on "
        f"{target.devices} × {target.chip.title}{mesh}"
    )


def describe(name: str, compiled: Compiled, target: Target) -> str:
    """Returns the lines about a program."""
    fits = compiled.bytes <= target.memory and not compiled.refused
    parts = compiled.held | {"temporaries": compiled.temporaries}
    shown = ", ".join(f"{kind} {size(number)}" for kind, number in parts.items() if number)
    lines = [
        f"{name}: {'fits' if fits else 'DOES NOT FIT'}: {size(compiled.bytes)} of "
        f"{size(target.memory)} per device",
        f"  memory per device: {shown}",
    ]
    if compiled.refused:
        lines.append(f"  the compiler: {compiled.refused}")
        return "\n".join(lines)
    costs = compiled.costs
    flops = sum(costs.flops.values())
    lines.append(f"  work per device: {flops / 1e9:,.1f} GFLOP, {costs.bytes / 1e9:,.2f} GB moved")
    for (kind, number), moved in sorted(costs.collectives.items()):
        lines.append(f"  {kind} over {number} devices: {size(moved)}")
    lines.append(
        f"  processor time: compiled in {compiled.seconds:.1f} s, "
        f"traced in {compiled.trace_seconds:.1f} s"
    )
    if found := estimate(costs, target):
        rate = f", {compiled.images / found.seconds:,.0f} images/s" if compiled.images else ""
        lines.append(
            f"  at best {1000 * found.seconds:,.2f} ms{rate}, limited by {found.bound} (estimate)"
        )
    return "\n".join(lines)


def size(number: float) -> str:
    """Formats a number of bytes with a unit."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= factor:
            return f"{number / factor:.2f} {unit}"
    return f"{number:.0f} B"
