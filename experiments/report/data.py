"""What a run trained on and was tested on, and what is to be known of that."""

from collections.abc import Iterator

from experiments.figures.tables import count_shots
from experiments.report.blocks import Block, Section, Table, Text
from experiments.report.finished import Finished


def section(run: Finished) -> Section:
    """Counts of classes and pictures, where the split is from, and the notes of the start."""
    found = run.results
    kind = "clips" if "ranks" in found else "pictures"
    captions = found.get("captions") or {}
    headers = ["", "classes", kind, *["captions"] * bool(captions)]
    rows = []
    if trained := found["pictures"].get("train"):
        rows.append([f"trained on: {found['dataset']}", "", f"{trained:,}"])
    for key in run.keys:
        classes, number = found["classes"].get(key), found["pictures"].get(f"test_{key}")
        cells = ["" if one is None else f"{one:,}" for one in (classes or None, number)]
        rows.append([f"tested on: {key}", *cells])
        if captions:
            rows[-1].append(f"{captions[key]:,}")
    whole = [row + [""] * (len(headers) - len(row)) for row in rows]
    blocks: list[Block] = [Table(headers, whole), *map(Text, _sentences(run))]
    return Section("Data", blocks)


def _sentences(run: Finished) -> Iterator[str]:
    found = run.results
    if found.get("shots"):
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
