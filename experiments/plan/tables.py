"""Writes the tables of docs/machines.md from plans.

    python -m experiments.plan.tables

Compiles what is missing in --plans, a JSON file, which takes hours on two cores.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.plan.tables", "main", sys.argv[1:]))

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from experiments.config.config import read
from experiments.configs import recipes
from experiments.plan import costs, largest, report, targets, worker
from experiments.plan.compiling import Compiled, Question
from prompt_jax.clip import VARIANTS
from prompt_jax.errors import PromptError
from prompt_jax.storage.files import write_text

SECONDS = 1800.0
PAGE = Path("docs/machines.md")
PLANS = Path("docs/machines.json")
BEGIN, END = "<!-- table: {} -->", "<!-- end -->"


class Row(NamedTuple):
    """A plan: a method's training step on a target.

    Attributes:
        method: its name; it has its base-to-novel recipe.
        target: name of the target.
        classes: number of classes.
        batch: images per step, of all devices.
        backbone: a name of `VARIANTS`.
        mesh: see `--mesh`.
        dtype: compute type.
        search: whether to find the largest batch and number of classes.
    """

    method: str
    target: str
    classes: int = 100
    batch: int = 32
    backbone: str = "ViT-B/16"
    mesh: str = ""
    dtype: str = "bfloat16"
    search: bool = False

    @property
    def key(self) -> str:
        """Returns the row's key in the file of plans."""
        return json.dumps(self._asdict())

    @property
    def question(self) -> Question:
        """Returns what to compile."""
        config = read(recipes.get_config(self.method))
        config = replace(config, backbone=self.backbone, dtype=self.dtype, mesh=self.mesh)
        config = replace(config, batch_size=self.batch, eval_batch_size=self.batch)
        sizes = VARIANTS[self.backbone]
        return Question(config, sizes, self.target, self.classes, "training step")


HEADS = (
    *("training step", "machine", "K", "batch", "memory per device", "temporaries"),
    *("collectives", "at best", "compiled in"),
)
LARGEST = ("largest batch", "largest K")
MACHINES = ("v5e-8", "v6e-8", "v5p-8", "a100-40gb", "h100")
LARGE = ("ViT-L/14", "ViT-L/14@336px", "ViT-H-14", "ViT-g-14")
TABLES: dict[str, tuple[Row, ...]] = {
    "machines": tuple(
        Row(method, target, batch=256 if target.startswith("v") else 32)
        for target in MACHINES
        for method in ("coop", "cocoop", "maple", "pro_mpt")
    ),
    "pod": tuple(
        Row(method, "v5e:16x16", 1000, 1024, mesh=mesh)
        for method in ("cocoop", "pro_mpt")
        for mesh in ("data:256", "data:64,model:4")
    ),
    "sizes": tuple(
        Row(method, target, backbone=backbone, batch=8 if target == "h100" else 32)
        for backbone in LARGE
        for target in ("h100", "v5p-8")
        for method in ("coop", "pro_mpt")
    ),
    "largest": tuple(
        Row(method, target, batch=8, search=True)
        for target in ("v5e", "h100")
        for method in ("coop", "pro_mpt")
    ),
    "24 GB": tuple(
        Row("promptsrc", "rtx4090", 1000, batch, "ViT-L/14", dtype=dtype)
        for batch in (4, 32)
        for dtype in ("float32", "bfloat16")
    ),
}


def plan(row: Row) -> dict[str, Any]:
    """Returns a row's figures as JSON."""
    target, question = targets.parse(row.target), row.question
    with worker.Compiler(target, SECONDS) as compiler:
        try:
            compiled: Compiled = compiler.ask(question)
        except worker.Failed as failed:
            return {"failed": str(failed)}
        found: dict[str, Any] = figures(compiled, target)
        if row.search:
            found["largest"] = {
                what: str(largest.search(compiler, question, target, what, start))
                for what, start in (("batch", row.batch), ("classes", row.classes))
            }
    return found


def figures(compiled: Compiled, target: targets.Target) -> dict[str, Any]:
    """Returns the figures of a program as JSON."""
    counted = compiled.costs
    estimated = costs.estimate(compiled.costs, target)
    collectives: dict[str, int] = {}
    for (kind, _), moved in counted.collectives.items():
        collectives[kind] = collectives.get(kind, 0) + moved
    return {
        "weights": compiled.held["weights"],
        "temporaries": compiled.temporaries,
        "bytes": compiled.bytes,
        "memory": target.memory,
        "refused": compiled.refused,
        "gigaflops": sum(counted.flops.values()) / 1e9,
        "moved": counted.bytes,
        "collectives": collectives,
        "compile_seconds": compiled.seconds,
        "seconds": estimated.seconds if estimated else None,
        "bound": estimated.bound if estimated else "",
        "images": compiled.images,
    }


def lines(rows: Sequence[Row], plans: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of a table in Markdown; rows without a plan are left out."""
    planned = [(row, plans[row.key]) for row in rows if row.key in plans]
    if not planned:
        return
    heads = [*HEADS, *LARGEST] if any(row.search for row, _ in planned) else HEADS
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row, found in planned:
        target = targets.parse(row.target)
        machine = f"{target.devices} × {target.chip.title}" + f", {row.mesh}" * bool(row.mesh)
        run = f"`{row.method}`, {row.backbone}, {row.dtype}"
        cells = [run, machine, f"{row.classes:,}", f"{row.batch:,}", *_measured(found)]
        if row.search:
            cells += found.get("largest", {}).values()
        yield f"| {' | '.join(cells)} |"


def _measured(found: dict[str, Any]) -> list[str]:
    if "failed" in found:
        return [found["failed"], *[""] * 4]
    of = f"{report.size(found['bytes'])} of {report.size(found['memory'])}"
    fits = found["bytes"] <= found["memory"] and not found["refused"]
    memory = of if fits else f"**does not fit**: {of}"
    moved = ", ".join(f"{kind} {report.size(n)}" for kind, n in found["collectives"].items())
    rate = found["images"] / found["seconds"] if found["seconds"] else 0
    best = f"{1000 * found['seconds']:.1f} ms, {rate:,.0f} images/s" if rate else ""
    seconds = f"{found['compile_seconds']:.0f} s"
    return [memory, report.size(found["temporaries"]), moved or "–", best, seconds]


def write_page(page: Path, plans: dict[str, dict[str, Any]]) -> None:
    """Replaces the tables between the page's marks.

    Raises:
        PromptError: a mark is missing.
    """
    text = page.read_text(encoding="utf-8")
    for name, rows in TABLES.items():
        begin = BEGIN.format(name)
        before, mark, after = text.partition(begin)
        _, end, after = after.partition(END)
        if not mark or not end:
            raise PromptError(f"{page} has no {begin} … {END}")
        text = "\n".join([before + mark, *lines(rows, plans), END + after])
    write_text(page, text)


def main(argv: Sequence[str]) -> None:
    """Compiles what is missing and writes the tables."""
    parser = command_line.make_parser("experiments.plan.tables", __doc__)
    parser.add_argument("--plans", type=Path, default=PLANS, help=f"file of plans ({PLANS})")
    parser.add_argument("--page", type=Path, default=PAGE, help=f"page with the tables ({PAGE})")
    parser.add_argument("--only", default="", help="compile only rows that contain this text")
    options = parser.parse_args(argv)
    plans = json.loads(options.plans.read_text()) if options.plans.is_file() else {}
    options.plans.parent.mkdir(parents=True, exist_ok=True)
    for row in [row for rows in TABLES.values() for row in rows if options.only in row.key]:
        if row.key not in plans:
            print(row.key, flush=True)
            targets.check_compiler(targets.parse(row.target))
            plans[row.key] = plan(row)
            write_text(options.plans, json.dumps(plans, indent=1))
    write_page(options.page, plans)
