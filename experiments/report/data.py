"""The training and test data of runs, and notes on them."""

from collections.abc import Iterator, Sequence

from experiments.figures.tables import shots_of, trains
from experiments.report.blocks import Block, Section, Table, Text
from experiments.report.finished import Finished
from prompt_jax.storage.local_paths import shorten_root


def section(runs: Sequence[Finished]) -> Section:
    """Returns counts, splits and notes on the data; what runs have in common appears once."""
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
    """Returns headers and rows: the training set, then each test set."""
    found = run.results
    examples, many = found["pictures"], found.get("captions") or found.get("classes") or {}
    tested = [(f"tested on: {key}", many.get(key), examples.get(f"test_{key}")) for key in run.keys]
    trained = [(f"trained on: {found['dataset']}", None, examples.get("train"))]
    lines = [*(trained if _trains(run) and examples.get("train") else ()), *tested]
    rows = []
    for name, of_many, number in lines:
        rows.append([name, *("" if one is None else f"{one:,}" for one in (of_many, number))])
    if "ranks" in found:
        return ["", "videos", "captions"], [[name, number, of] for name, of, number in rows]
    return ["", "classes", "images"], rows


def _trains(run: Finished) -> bool:
    return trains(run.results["method"], run.results.get("kind", ""))


def _sentences(run: Finished) -> Iterator[str]:
    found = run.results
    if found.get("shots") and _trains(run):
        yield f"Trained on {shots_of(found)} per class."
    sources = {found["dataset"]: found.get("split_source")} | (found.get("split_sources") or {})
    known = dict.fromkeys(source for source in sources.values() if source)
    if known:
        yield f"Split: {'; '.join(known)}."
    if left_out := found["skipped_pictures"]:
        first = shorten_root(left_out[0], data_root(run))
        yield f"Skipped as unreadable: {len(left_out):,}, e.g. {first}."
    for note in found.get("data_notes") or ():
        yield f"Note: {shorten_root(note, data_root(run))}."


def data_root(run: Finished) -> str:
    """Returns the directory of the data, which is private; "" if there is none."""
    root = (run.results["config"].get("data") or {}).get("root")
    return root if isinstance(root, str) else ""
