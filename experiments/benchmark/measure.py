"""Measures cells, alternating between both sides, and records the results in one JSON file."""

import dataclasses
import datetime
import functools
import importlib.metadata
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from experiments import machines
from experiments.benchmark import checks, records
from experiments.benchmark.cells import Cell
from experiments.benchmark.handover import cores
from experiments.benchmark.worker import NO_TIME, Failed, Skipped, Worker, total_memory
from experiments.record.workdir import git_commit, write_json
from prompt_jax.cli import progress
from prompt_jax.errors import PromptError, installing

OURS, COUNTERPART = "ours", "counterpart"
# A repeat of a fast cell lasts this long, over several runs: clocks and schedulers are coarse.
REPEAT_SECONDS, MOST_RUNS = 0.3, 200
PACKAGES = (
    *("jax", "jaxlib", "jax-cuda12-plugin", "libtpu", "nvidia-cudnn-cu12", "flax", "optax"),
    *("numpy", "torch", "triton"),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the measurement.

    Attributes:
        repeats: maximum number of measurements per side of a cell.
        limit: maximum seconds of a run; slower cells are skipped.
        minutes: time limit. A cell is skipped if it would end later, estimated by the last cell of
            its method, or else by the mean of all cells.
        counterpart: whether PyTorch is measured too.
        memory: memory budget of a tower of this library, in bytes; None for the default.
        accelerator: whether an accelerator is required.
        checks: whether parity and attention are measured first; "small" for tiny sizes.
    """

    repeats: int = 5
    limit: float = 120.0
    minutes: float = math.inf
    counterpart: bool = True
    memory: int | None = None
    accelerator: bool = False
    checks: Literal["", "small", "full"] = ""


def measure_all(cells: Sequence[Cell], options: Options, file: Path) -> dict[str, Any]:
    """Measures the cells in order and writes `file` after each one.

    A file of an earlier call with the same code, device and versions is continued.

    Returns:
        The content of the file: "device", "versions", "commit", "code" (a hash), "date",
        "options", "parity" and "attention" (see `checks`), "cells" (with all repeats), "left_out"
        (skipped cells with reasons) and "finished".

    Raises:
        PromptError: the device cannot be used, an accelerator is required and missing, or the file
            is of another measurement.
    """
    began, load = time.monotonic(), os.getloadavg()[0]
    until = began + 60 * options.minutes
    dtypes = sorted({cell.dtype for cell in cells})
    device = _ask("device", dtypes)
    if options.accelerator and device["platform"] == "cpu":
        raise PromptError(
            f"--gpu: JAX finds only a CPU. On a machine with a GPU, {installing('cuda12')}; "
            "on a CPU, choose cells with --only, or the tiny sizes of --small"
        )
    device |= {"cores": cores(), "host_memory_bytes": total_memory(), "load": load}
    if machine := machines.find(device["name"]):
        device["data_sheet"] = dataclasses.asdict(machine)
    if options.counterpart and device["platform"] != "cpu" and not _ask("cuda"):
        print(f"PyTorch cannot use this {device['platform']}; only this library is measured")
        options = dataclasses.replace(options, counterpart=False)
    fresh: dict[str, Any] = {
        "device": device,
        "versions": versions(),
        "commit": git_commit(),
        "code": records.code_hash(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "options": dataclasses.asdict(options) | {"minutes": _finite(options.minutes)},
        "parity": [],
        "attention": [],
        "cells": [],
        "left_out": [],
        "finished": False,
    }
    record = records.resume(file, fresh, options.counterpart)
    left = [cell for cell in cells if not records.is_done(record, cell)]
    if len(left) < len(cells):
        print(f"{file} has {len(cells) - len(left)} of {len(cells)} cells; measuring the others")
    with tempfile.TemporaryDirectory() as folder, progress.bar("cells", len(left)) as advance:
        if options.checks:
            weights, small = Path(folder) / "embedded.safetensors", options.checks == "small"
            names = checks.PARITY[:1] if small else checks.PARITY
            checks.measure_parity(record, weights, options.counterpart, names, until)
            write_json(file, record)
            checks.measure_attention(record, small, until)
        lasted: dict[str, float] = {}
        for number, cell in enumerate(left, 1):
            started = time.monotonic()
            mean = statistics.fmean(lasted.values()) if lasted else 0.0
            if started + lasted.get(cell.method, mean) > until:
                record_skip(record, cell, "both", f"{NO_TIME}: --minutes={options.minutes:g}")
            else:
                measure_cell(cell, options, record, Path(folder), until)
                lasted[cell.method] = time.monotonic() - started
            write_json(file, record)
            advance(number, str(cell))
    record["finished"] = True
    write_json(file, record)
    return record


def _ask(kind: str, *arguments: Any) -> Any:
    try:
        with Worker(kind, 600, *arguments) as worker:
            return worker.ask()
    except Skipped as error:
        raise PromptError(f"the device cannot be used: {error}") from None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed packages of `PACKAGES`."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def measure_cell(
    cell: Cell, options: Options, record: dict[str, Any], folder: Path, until: float = math.inf
) -> None:
    """Measures a cell and adds it to the record, or the reason why it or a side was skipped.

    Args:
        cell, options, record: see `measure_all`.
        folder: directory for the backbone's weights.
        until: the end of the benchmark on `time.monotonic`.
    """
    weights = folder / f"{cell.backbone.replace('/', '-')}.safetensors"
    start = functools.partial(Worker, until=until)
    seconds = max(600.0, 5 * options.limit)
    skip = functools.partial(record_skip, record, cell)
    reason = skip_reason(record, cell, OURS, options.limit)
    if reason:
        skip("both", reason)
        return
    try:
        with start(OURS, seconds, cell, weights, options.memory) as ours:
            facts, handover = ours.ask()
            platform = record["device"]["platform"]
            other = functools.partial(
                start, COUNTERPART, seconds, cell, weights, handover, platform
            )
            if cell.runs > 1:
                other = functools.partial(start, "in turn", seconds, cell, weights, options.memory)
            found = measure_sides(ours, facts, other, cell, options, record, skip)
    except Skipped as error:
        skip("both", str(error), isinstance(error, Failed))
        return
    record["cells"].append(summarize(cell, found, record["device"]["peak_flops"][cell.dtype]))


def measure_sides(
    ours: Worker,
    facts: dict[str, Any],
    start: Callable[[], Worker],
    cell: Cell,
    options: Options,
    record: dict[str, Any],
    skip: Callable[..., None],
) -> dict[str, dict[str, Any]]:
    """Returns facts, repeats and peak memory by side; only ours if the counterpart is skipped."""
    reason = skip_reason(record, cell, COUNTERPART, options.limit)
    wanted = options.counterpart or cell.runs > 1
    if wanted and not reason:
        try:
            with start() as theirs:
                their_facts, _ = theirs.ask()
                return alternate({OURS: (ours, facts), COUNTERPART: (theirs, their_facts)}, options)
        except Skipped as error:
            if error.kind == OURS:
                raise
            skip(COUNTERPART, str(error), isinstance(error, Failed))
    elif wanted:
        skip(COUNTERPART, reason)
    return alternate({OURS: (ours, facts)}, options)


def alternate(
    sides: dict[str, tuple[Worker, dict[str, Any]]], options: Options
) -> dict[str, dict[str, Any]]:
    """Measures repeats of both sides in turns, then half as many in a row per side.

    In turns, changes of the load affect both sides alike, but each side runs on caches and memory
    that the other one left cold, which favors the side with less memory. In a row, it does not.
    """
    runs = {}
    for side, (_, facts) in sides.items():
        runs[side] = min(MOST_RUNS, math.ceil(REPEAT_SECONDS / max(facts["first_seconds"], 1e-9)))
    once = sum(facts["first_seconds"] for _, facts in sides.values())
    repeats = max(1, min(options.repeats, int(3 * options.limit / max(once, 1e-9))))
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, (worker, _) in sides.items():
            seconds[side].append(worker.ask("run", runs[side]))
    result = {}
    for side, (worker, facts) in sides.items():
        worker.ask("run", 1)  # warms up after the pause
        in_row = [worker.ask("run", runs[side]) for _ in range(math.ceil(repeats / 2))]
        measured = {"seconds": seconds[side], "seconds_in_row": in_row}
        result[side] = facts | measured | {"memory_bytes": worker.ask("memory")}
    return result


def summarize(cell: Cell, found: dict[str, dict[str, Any]], peak: float) -> dict[str, Any]:
    """Returns a cell's record: medians and rates per side, and the ratio of each repeat."""
    result: dict[str, Any] = dataclasses.asdict(cell)
    for side, facts in found.items():
        median = statistics.median(facts["seconds"])
        rates = {"median_seconds": median, "images_per_second": cell.images / median}
        result[side] = facts | rates
    result[OURS]["share_of_peak"] = result[OURS]["flops"] / result[OURS]["median_seconds"] / peak
    if COUNTERPART in found:
        pairs = zip(found[COUNTERPART]["seconds"], found[OURS]["seconds"], strict=True)
        ratios = [theirs / ours for theirs, ours in pairs]
        result["ratio"] = {
            "repeats": ratios,
            "median": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
            "in_row": _quotient_in_row(found),
        }
    return result


def _quotient_in_row(found):
    medians = {side: statistics.median(facts["seconds_in_row"]) for side, facts in found.items()}
    return medians[COUNTERPART] / medians[OURS]


def record_skip(
    record: dict[str, Any], cell: Cell, side: str, reason: str, failed: bool = False
) -> None:
    """Records that a side of a cell ("ours", "counterpart" or "both") was skipped."""
    record["left_out"].append(
        {"cell": dataclasses.asdict(cell), "side": side, "reason": reason, "failed": failed}
    )


def skip_reason(record: dict[str, Any], cell: Cell, side: str, limit: float) -> str:
    """Returns why a side would be too slow or too large, judged by a smaller cell; else "".

    Assumes that time and memory grow at most in proportion to K, batch and N.
    """
    for other in record["left_out"]:
        if other["side"] in (side, "both") and _growth(Cell(**other["cell"]), cell):
            return f"as with {Cell(**other['cell'])}: {other['reason']}"
    best: tuple[float, Any] = (math.inf, None)
    for other in record["cells"]:
        smaller = records.cell_of(other)
        factor = _growth(smaller, cell)
        if side in other and factor and factor < best[0]:
            best = factor, (smaller, other[side])
    if best[1] is None:
        return ""
    factor, (smaller, facts) = best
    seconds = factor * facts["median_seconds"]
    if seconds > limit:
        return f"would take about {seconds:.0f} s a run by {smaller}; --limit={limit:g}"
    return ""


def _growth(smaller: Cell, larger: Cell) -> float:
    """Returns the ratio of work of two cells; 0 if they are of different kinds or not larger."""
    if smaller.method != larger.method:
        return 0.0
    sizes = ("K", "batch", "N")
    alike = dataclasses.replace(larger, **{name: getattr(smaller, name) for name in sizes})
    ratios = [getattr(larger, name) / getattr(smaller, name) for name in sizes]
    return math.prod(ratios) if alike == smaller and min(ratios) >= 1 else 0.0
