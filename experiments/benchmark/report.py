"""Formats the benchmark's tables for the terminal and as Markdown."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from experiments.benchmark import checks, records
from experiments.benchmark.cells import Cell
from experiments.figures import tables
from prompt_jax.errors import PromptError
from prompt_jax.storage.files import write_text

HEADERS = (
    "method", "K", "batch", "{0} /s", "{1} /s", "ratio", "in a row", "{0} MiB", "{1} MiB", "GFLOP",
    "peak", "built s",
)  # fmt: skip
IN_TURN = "runs in one program, and in turn"

BEGIN = "<!-- begin: written by python -m experiments.benchmark --gpu -->"
END = "<!-- end: written by python -m experiments.benchmark --gpu -->"
PARITY = "Parity with float32 on the CPU: largest difference of a logit, cosine of the gradients"
ATTENTION = "Attention in bfloat16"

# Load per core above which the measurements are unreliable.
BUSY = 0.4


def show(record: Mapping[str, Any]) -> None:
    """Prints a table per backbone, phase and part, and the skipped cells."""
    for title, rows in sections(record).items():
        table = Table(title=title, title_justify="left")
        first, *others = headers(title)
        table.add_column(first, no_wrap=True)
        for header in others:
            table.add_column(header, justify="right", no_wrap=header == "ratio")
        for row in rows:
            table.add_row(*row)
        tables.show(table)
    for title, heads, rows in _checks(record):
        tables.show(tables.table(title, heads, rows))
    print(conditions(record))
    for line in describe_skipped(record):
        print(f"skipped: {line}")


def to_markdown(record: Mapping[str, Any], level: int = 1) -> str:
    """Returns the same as Markdown, preceded by the conditions of the measurement.

    Args:
        record: the benchmark's record.
        level: of the heading; those of the tables are one level below.
    """
    below = "#" * (level + 1)
    parts = [f"{'#' * level} Benchmark\n\n{conditions(record)}\n"]
    for title, heads, rows in _checks(record):
        parts.append(f"{below} {title}\n\n{tables.markdown(heads, rows)}")
    for title, rows in sections(record).items():
        parts.append(f"{below} {title}\n\n{tables.markdown(headers(title), rows)}")
    lines = [f"- {line}" for line in describe_skipped(record)]
    if lines:
        parts.append(f"{below} Skipped\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def write_section(record: Mapping[str, Any], page: Path) -> None:
    """Writes the record between the markers of a Markdown page.

    Raises:
        PromptError: the page cannot be read, or lacks the markers.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise PromptError(f"--page={page} cannot be read: {error.strerror}") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise PromptError(f"--page={page} needs the lines {BEGIN} and {END}, in this order")
    _, _, content = to_markdown(record, 2).partition("\n\n")
    write_text(page, f"{before}{BEGIN}\n\n{content}\n{END}{after}")


def _checks(record):
    """Yields title, headers and rows of the tables of parity and of attention."""
    if rows := checks.parity_rows(record):
        yield PARITY, checks.PARITY_HEADERS, rows
    if rows := checks.attention_rows(record):
        yield ATTENTION, checks.ATTENTION_HEADERS, rows


def headers(title: str) -> tuple[str, ...]:
    """Returns the column headers of the section `title`."""
    sides = ("together", "in turn") if title.endswith(IN_TURN) else ("ours", "torch")
    return tuple(header.format(*sides) for header in HEADERS)


def conditions(record: Mapping[str, Any]) -> str:
    """Returns device, date and versions of the measurement, and an explanation of the columns."""
    device, versions = record["device"], record["versions"]
    peaks = ", ".join(
        f"{peak / 1e9:,.0f} GFLOP/s in {dtype}" for dtype, peak in device["peak_flops"].items()
    )
    sheet = device.get("data_sheet")
    if sheet:
        rates = ", ".join(f"{rate / 1e12:g} in {name}" for name, rate in sheet["peak"].items())
        peaks += f" (data sheet, TFLOP/s: {rates}; {sheet['source']})"
    memory = (
        "resident size of the whole process, compiling included"
        if device["platform"] == "cpu"
        else "on the device, of which each side may use about half"
    )
    theirs = [cell["counterpart"] for cell in record["cells"] if "counterpart" in cell]
    compiled = ""
    if any("compile_seconds" in each for each in theirs):
        compiled = (
            " PyTorch uses scaled_dot_product_attention and torch.compile; rates without "
            "compilation are in parentheses."
        )
    if reasons := {each["not_compiled"] for each in theirs if "not_compiled" in each}:
        compiled += f" torch.compile failed: {'; '.join(sorted(reasons))}."
    busy = ""
    if theirs and device["load"] > BUSY * device["cores"]:
        busy = (
            f"\n\nThe machine was busy (load {device['load']:.1f} at the start). This slows down "
            "PyTorch's threads, which wait for each other, so the ratios are too high."
        )
    return (
        f"{device['name']} ({device['platform']}), {device['cores']} cores; a large matrix product "
        f"reaches {peaks}. {', '.join(f'{name} {v}' for name, v in versions.items())}. Commit "
        f"{record['commit']}, {record['date']}.\n\n"
        "Columns: images, videos or video-caption pairs per second (median); ratio of repeats in "
        "turns, as median (lowest to highest); ratio of the medians of repeats in a row; peak "
        f"memory, {memory}; GFLOP of the traced matrix products of one run; peak, their share of "
        "the rate of the large matrix product"
        + (" (of the data sheet's)" if sheet else "")
        + "; built s, the compile time. The JSON file also has "
        "XLA's count, which counts a loop's body once. ViT-B/16 and ViT-B/32 have random weights."
        + compiled
        + busy
        + ("" if record["finished"] else "\n\nThe benchmark was stopped early: cells are missing.")
    )


def sections(record: Mapping[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """Returns the rows of each table by title; with several batch sizes, also the best ones."""
    peaks = record["device"].get("data_sheet", {}).get("peak", {})
    order = ("backbone", "phase", "part", "dtype")
    found: dict[str, list[tuple[str, ...]]] = {}
    for cell in record["cells"]:
        title = "{}, {}, {} part, {}".format(*(cell[key] for key in order))
        title = title.replace("all part", "whole")
        if (layers := cell.get("layers", "auto")) != "auto":
            title += f", layers {layers}"
        if cell["runs"] > 1:
            title += f", {cell['runs']} {IN_TURN}"
        found.setdefault(title, []).append(_row(cell, peaks))
    if best := list(_best_batches(record["cells"], peaks)):
        found["best batch of each side"] = best
    return found


def _row(cell: Mapping[str, Any], peaks: Mapping[str, float]) -> tuple[str, ...]:
    ours, theirs = cell["ours"], cell.get("counterpart")
    share = f"{ours['share_of_peak']:.0%}"
    if peak := peaks.get(cell["dtype"]):
        share += f" ({ours['flops'] / ours['median_seconds'] / peak:.0%})"
    iterations = f" N={cell['N']}" if cell["method"] == "pro_mpt" else ""
    return (
        cell["method"].replace("_tower", " tower") + iterations,
        str(cell["K"]) if cell["K"] > 1 else "–",  # pairs and towers have no classes
        str(cell["batch"]),
        _rate(ours["images_per_second"]),
        _their_rate(cell, theirs) if theirs else "–",
        _ratio(cell["ratio"]) if theirs else "–",
        _in_row(cell) if theirs else "–",
        f"{ours['memory_bytes'] / 2**20:,.0f}",
        f"{theirs['memory_bytes'] / 2**20:,.0f}" if theirs else "–",
        f"{ours['flops'] / 1e9:,.1f}",
        share,
        f"{ours['compile_seconds']:.1f}",
    )


def _ratio(ratio: Mapping[str, Any]) -> str:
    several = len(ratio["repeats"]) > 1
    return ("{median:.3g} ({lowest:.3g}–{highest:.3g})" if several else "{median:.3g}").format(
        **ratio
    )


def _in_row(cell: Mapping[str, Any]) -> str:
    value = cell["ratio"].get("in_row")  # missing in files of earlier versions
    return "–" if value is None else f"{value:.3g}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _their_rate(cell, theirs):
    rate = _rate(theirs["images_per_second"])
    if "eager_seconds" not in theirs:
        return rate
    return f"{rate} ({_rate(records.cell_of(cell).images / theirs['eager_seconds'])})"


def _best_batches(
    cells: Iterable[Mapping[str, Any]], peaks: Mapping[str, float]
) -> Iterable[tuple[str, ...]]:
    """Yields, for cells with several batch sizes, the best batch size per side and their ratio."""
    keys = ("backbone", "phase", "part", "dtype", "method", "K", "N", "runs")

    def key(cell):
        return (*(cell[name] for name in keys), cell.get("layers", "auto"))

    for names, group in itertools.groupby(sorted(cells, key=key), key):
        alike = list(group)
        theirs = [cell for cell in alike if "counterpart" in cell]
        if len(alike) < 2 or not theirs:
            continue
        best = max(alike, key=lambda cell: cell["ours"]["images_per_second"])
        other = max(theirs, key=lambda cell: cell["counterpart"]["images_per_second"])
        rates = best["ours"]["images_per_second"], other["counterpart"]["images_per_second"]
        row = list(_row(best, peaks))
        row[0] += f" {names[0]} {names[1]}"
        row[2] = f"{best['batch']} | {other['batch']}"
        row[4:7] = _rate(rates[1]), f"{rates[0] / rates[1]:.3g}", "–"
        row[8] = f"{other['counterpart']['memory_bytes'] / 2**20:,.0f}"
        yield tuple(row)


def describe_skipped(record: Mapping[str, Any]) -> list[str]:
    """Returns a line with the reason for each skipped cell or side, and for each failed check."""
    cells = [
        f"{Cell(**each['cell'])}, {each['side']}: {each['reason']}" for each in record["left_out"]
    ]
    parity = [each for each in record.get("parity", []) if "reason" in each]
    attention = [each for each in record.get("attention", []) if "reason" in each]
    return [
        *cells,
        *(f"parity of {each['method']}: {each['reason']}" for each in parity),
        *(f"attention, {each['form']}, {each['tower']}: {each['reason']}" for each in attention),
    ]
