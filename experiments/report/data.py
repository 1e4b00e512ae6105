"""What runs were trained and tested on, and what is to be known of that."""

from collections.abc import Iterator, Sequence

from experiments.figures.tables import count_shots
from experiments.report.blocks import Block, Section, Table, Text
from experiments.report.finished import Finished


def section(runs: Sequence[Finished]) -> Section:
    """Counts, where splits are from, and the notes of the start; what runs share stands once."""
    tables: dict[tuple, list[str]] = {}
    sentences: dict[str, list[str]] = {}
    for run in runs:
        headers, rows = _counts(run)
        tables.setdefault((tuple(headers), *map(tuple, rows)), []).append(run.label)
        for text in _sentences(run):
            sentences.setdefault(text, []).append(run.label)

    def whose(labels):
        return ", ".join(labels) if len(labels) < len(runs) else ""

    blocks: list[Block] = [
        Table(headers, rows, whose(labels)) for (headers, *rows), labels in tables.items()
    ]
    for text, labels in sentences.items():
        of = whose(labels)
        blocks.append(Text(f"{of}: {text}" if of else text))
    return Section("Data", blocks)


def _counts(run: Finished) -> tuple[list[str], list[list[str]]]:
    """A table: a row for what is trained on, and for each test set."""
    found, by_captions = run.results, "ranks" in run.results
    numbers = found["pictures"]
    headers = ["", "clips", "captions"] if by_captions else ["", "classes", "pictures"]
    rows = []
    if _trains(run) and numbers.get("train"):
        cells = [f"{numbers['train']:,}", ""]
        what = f"trained on: {found['dataset']}"
        rows.append([what, *(cells if by_captions else reversed(cells))])
    for key in run.keys:
        more = (found["captions"] if by_captions else found["classes"]).get(key)
        pair = [f"{numbers[f'test_{key}']:,}", "" if more is None else f"{more:,}"]
        rows.append([f"tested on: {key}", *(pair if by_captions else reversed(pair))])
    return headers, rows


def _trains(run: Finished) -> bool:
    """Whether training pictures were looked at at all."""
    return run.results["method"] != "zero_shot"


def _sentences(run: Finished) -> Iterator[str]:
    found = run.results
    if found.get("shots") and _trains(run):
        there = found.get("shots_per_class") or (found["shots"], found["shots"])
        yield f"Of each class, {count_shots(found['shots'], *there)} trained."
    sources = {found["dataset"]: found.get("split_source")} | (found.get("split_sources") or {})
    known = dict.fromkeys(source for source in sources.values() if source)
    if known:
        yield f"Split: {'; '.join(known)}."
    if left_out := found["skipped_pictures"]:
        yield f"Left out as unreadable: {len(left_out):,}, e.g. {left_out[0]}."
    for note in found.get("data_notes", ()):
        yield f"Note: {note}."
