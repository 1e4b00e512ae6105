"""What the runs are, and what they reached."""

from collections.abc import Iterator, Sequence

from experiments.figures.tables import compare_ranks, count_shots
from experiments.record.runs import RETRIEVAL
from experiments.report.blocks import Block, Section, Table, Text
from experiments.report.finished import Finished

WORDS = {"t2v": "captions search clips", "v2t": "clips search captions"}


def section(runs: Sequence[Finished]) -> Section:
    """A paragraph for each run, and a table of all."""
    blocks: list[Block] = [Text(_in_words(run)) for run in runs]
    blocks += _tables(runs)
    notes = dict.fromkeys(run.results["note"] for run in runs if "note" in run.results)
    blocks += [Text(f"Note: {note}.") for note in notes]
    blocks += [
        Text(f"{run.label}: shown without its pictures, which are not there: {run.missing}")
        for run in runs
        if run.missing
    ]
    return Section("Overview", blocks)


def _in_words(run: Finished) -> str:
    found = run.results
    asked = found["shots"]
    there = found.get("shots_per_class") or (asked, asked)
    shots = count_shots(asked, *there) if asked else "all that train"
    words = [
        f"{run.label} on {found['dataset']}: {found['protocol'].replace('_', ' ')}, {shots}, "
        f"seed {found['seed']}, backbone {found['backbone']} ({found['backbone_hash'][:8]})."
    ]
    measure = "R@1" if found["protocol"] == RETRIEVAL else "accuracy"
    reached = [
        f"{found['accuracy'][key]:.2f} % on {key} (zero-shot CLIP {found['zero_shot'][key]:.2f} %)"
        for key in run.keys
    ]
    words.append(f"Its {measure} is {'; '.join(reached)}.")
    if "h" in found:
        words.append(f"H is {found['h']:.2f} (zero-shot CLIP {found['zero_shot']['h']:.2f}).")
    if found.get("train_seconds"):
        trained = found.get("trainable_parameters")
        numbers = f"{trained:,} numbers trained" if trained else "Training took"
        words.append(f"{numbers}{' for' * bool(trained)} {found['train_seconds']:.0f} s.")
    return " ".join(words)


def _tables(runs: Sequence[Finished]) -> Iterator[Table]:
    of_classes = [run for run in runs if run.results["protocol"] != RETRIEVAL]
    if of_classes:
        yield _accuracies(of_classes)
    for run in runs:
        if "ranks" in run.results:
            yield _ranks(run)


def _accuracies(runs: Sequence[Finished]) -> Table:
    keys = list(dict.fromkeys(key for run in runs for key in run.keys))
    with_h = any("h" in run.results for run in runs)
    headers = ["", *keys, *["H"] * with_h, *(f"{key}, top 5" for key in keys), "training, s"]
    rows = []
    for run in runs:
        found = run.results
        taught = f"{found.get('train_seconds') or 0:.0f}"
        lines = [(run.label, found["accuracy"], found.get("h"), found.get("top5"), taught)]
        if found["method"] != "zero_shot":
            zero = found["zero_shot"]
            five = found.get("zero_shot_top5")
            of = f", beside {run.label}" * (len(runs) > 1)
            lines.insert(0, (f"zero-shot CLIP{of}", zero, zero.get("h"), five, ""))
        for label, accuracy, h, top5, seconds in lines:
            cells = [_percent(accuracy.get(key)) for key in keys] + [_percent(h)] * with_h
            cells += [_percent((top5 or {}).get(key)) for key in keys]
            rows.append([label, *cells, seconds])
    return Table(headers, rows, "Accuracy, %")


def _ranks(run: Finished) -> Table:
    metrics, lines = compare_ranks(run.results, run.label)
    rows = [[f"{key}, {WORDS[way]}: {name}", *figures] for key, way, name, figures in lines]
    return Table(["", *metrics], rows, f"{run.label}: R@K in %, mean and median rank")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
