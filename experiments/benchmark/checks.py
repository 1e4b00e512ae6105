"""Measures parity of the device with a CPU, and forms of attention, and shows both as tables."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmark.cells import Cell
from experiments.benchmark.worker import NO_TIME, Skipped, Worker

PARITY = ("coop", "pro_mpt")
SECONDS = 300.0  # per answer
# Largest difference of a logit, whose scale is about 100, and least cosine of all gradients, by
# precision. bfloat16 has 8 bits of precision and TF32 11, so its bound is an eighth.
BOUNDS = {"float32": (1e-3, 0.9999), "tf32": (0.025, 0.999), "bfloat16": (0.2, 0.996)}
PARITY_HEADERS = (
    "method", "precision", "ours: logits", "gradients", "PyTorch: logits", "gradients", "bound",
)  # fmt: skip
ATTENTION_HEADERS = (
    "tower", "attention", "forward, ms", "TFLOP/s", "MiB", "with backward, ms", "TFLOP/s", "MiB",
    "difference",
)  # fmt: skip


def measure_parity(
    record: dict[str, Any],
    weights: Path,
    counterpart: bool,
    names: Sequence[str] = PARITY,
    until: float = math.inf,
) -> None:
    """Adds a row per method to `record["parity"]`, except for those that it has.

    Args:
        record: the benchmark's record.
        weights: file for the embedded CLIP's weights.
        counterpart: whether PyTorch is compared too.
        names: the methods.
        until: the end of the benchmark on `time.monotonic`.
    """
    measured = {row["method"] for row in record["parity"]}
    for name in [name for name in names if name not in measured]:
        cell, row = Cell(name, "embedded", 10, 4), {"method": name}
        platform = record["device"]["platform"]
        try:
            with Worker("parity", SECONDS, cell, weights, until=until) as ours:
                row["ours"], handover, reference = ours.ask()
            if counterpart:
                given = (cell, weights, handover, reference, platform)
                with Worker("torch parity", SECONDS, *given, until=until) as theirs:
                    row["counterpart"] = theirs.ask()
        except Skipped as error:
            row["reason"] = str(error)
        record["parity"].append(row)


def measure_attention(record: dict[str, Any], small: bool, until: float = math.inf) -> None:
    """Sets `record["attention"]`, a row per tower and form, unless it has them."""
    if record["attention"]:
        return
    try:
        with Worker("attention", SECONDS, small, until=until) as worker:
            record["attention"] = worker.ask()
    except Skipped as error:
        print(f"attention was not measured: {error}")


def beyond_bounds(record: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each precision in which this library exceeds its bound, or fails."""
    for row in record.get("parity", []):
        if row.get("reason", NO_TIME) != NO_TIME:
            yield f"{row['method']}: {row['reason']}"
        for form, found in row.get("ours", {}).items():
            logits, cosine = BOUNDS[form]
            if not (found["logits"] <= logits and found["cosine"] >= cosine):
                yield (
                    f"{row['method']} in {form}: logits differ by {found['logits']:.2g} (at most "
                    f"{logits:g}), cosine of the gradients {found['cosine']:.4f} (at least "
                    f"{cosine:g})"
                )


def parity_rows(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Returns the rows of the table of parity."""
    rows = []
    for row in record.get("parity", []):
        for form, ours in row.get("ours", {}).items():
            theirs = row.get("counterpart", {}).get(form)
            logits, cosine = BOUNDS[form]
            rows.append(
                (row["method"], form, *_figures(ours), *_figures(theirs), f"{logits:g}, {cosine:g}")
            )
    return rows


def _figures(found):
    return (f"{found['logits']:.2g}", f"{found['cosine']:.6f}") if found else ("–", "–")


def attention_rows(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Returns the rows of the table of attention; forms that the device lacks have dashes."""
    rows = []
    for row in record.get("attention", []):
        shape = row["shape"]
        tower = f"{row['tower']}, {shape['batch']} × {shape['tokens']}, {shape['heads']} heads"
        figures = [_phase(row.get(phase)) for phase in ("forward", "backward")]
        difference = f"{row['difference']:.2g}" if "difference" in row else "–"
        rows.append((tower, row["form"], *figures[0], *figures[1], difference))
    return rows


def _phase(found):
    if not found:
        return ("–", "–", "–")
    memory = "–" if found["bytes"] is None else f"{found['bytes'] / 2**20:,.0f}"
    rate = f"{found['flops_per_second'] / 1e12:.3g}"
    return (f"{1e3 * found['seconds']:.3g}", rate, memory)
