"""The runs and their results."""

from collections.abc import Iterator, Sequence

from experiments.figures import retrieval, wording
from experiments.figures.tables import (
    DIRECTIONS,
    SEES,
    ZERO_SHOT,
    compare_ranks,
    sees_at_test,
    shots_of,
    trains,
)
from experiments.record import identity
from experiments.record.runs import EVALUATION, backbone_title
from experiments.report import headline
from experiments.report.blocks import Block, Fold, Section, Table, Text
from experiments.report.data import data_root
from experiments.report.finished import Finished
from prompt_jax.storage.local_paths import shorten_root

ELSEWHERE = "tested by an earlier call, whose test data is not recorded; shown without images"


def section(runs: Sequence[Finished]) -> Section:
    """Returns a chart and a table of all runs, and each run's settings in a fold."""
    blocks: list[Block] = [headline.plot(runs), *_tables(runs)]
    blocks += [Fold(f"Settings of {run.label}", (_in_words(run),)) for run in runs]
    notes = dict.fromkeys(run.results["note"] for run in runs if run.results.get("note"))
    blocks += [Text(f"Note: {note}.") for note in notes]
    blocks += [
        Text(f"{run.label}: shown without its images: {shorten_root(run.missing, data_root(run))}")
        for run in runs
        if run.missing
    ]
    for run in runs:
        if gone := [key for key in run.keys if run.tests and key not in run.tests]:
            blocks.append(Text(f"{run.label}: {', '.join(gone)}: {ELSEWHERE}."))
    return Section("Overview", blocks)


def _in_words(run: Finished) -> str:
    found = run.results
    parts = [found["protocol"].replace("_", " "), shots_of(found), f"seed {found['seed']}"]
    if not trains(found["method"], found.get("kind", "")):
        del parts[1]
    if found["protocol"] == EVALUATION:
        by = found["source"]["protocol"].replace("_", " ")
        parts.insert(1, f"trained on {found['dataset']} by {by}")
    backbone = f"backbone {backbone_title(found)} ({found['backbone_hash'][:8]})"
    words = [f"{run.label} on {run.data}: {', '.join([*parts, backbone])}."]
    measure = "R@1 (text-to-video)" if "ranks" in found else "accuracy"
    reached = [f"{found['accuracy'][key]:.2f} % on {key} ({_beside(run, key)})" for key in run.keys]
    words.append(f"Its {measure} is {'; '.join(reached)}.")
    if "h" in found:
        words.append(f"H is {found['h']:.2f} ({_beside(run, 'h')}).")
    if found.get("train_seconds"):
        trained = found.get("trainable_parameters")
        parameters = f" {trained:,} parameters" if trained else ""
        words.append(f"Training{parameters} took {found['train_seconds']:.0f} s.")
    words.append(_recipe(run))
    return " ".join(filter(None, words))


def _beside(run: Finished, key: str) -> str:
    """Returns the 95 % interval, where results.json has one, and the figure of zero-shot CLIP."""
    found, ends = run.results, headline.interval(run, key)
    phrases = [f"95 % interval {ends[0]:.1f} to {ends[1]:.1f}"] if ends else []
    if found["method"] != "zero_shot":
        phrases.append(f"zero-shot CLIP {found['zero_shot'][key]:.2f}")
    return ", ".join(phrases)


def _recipe(run: Finished) -> str:
    if run.results["protocol"] == EVALUATION:
        return ""
    config = dict(identity.flat(run.results["config"]))
    found = run.results.get("chosen") or {}
    chosen = {
        name: f"{value:g} (chosen by {found['by']})"
        for name, value in found.get("values", {}).items()
    }
    phrases = wording.recipe([config], bool(run.results.get("trainable_parameters")), chosen)
    return f"With {phrases}." if phrases else ""


def _tables(runs: Sequence[Finished]) -> Iterator[Table | Text]:
    of_classes = [run for run in runs if "ranks" not in run.results]
    if of_classes:
        yield _accuracies(of_classes)
    for run in runs:
        if "ranks" in run.results:
            yield _ranks(run)
            yield Text(retrieval.LEGEND)


def _accuracies(runs: Sequence[Finished]) -> Table:
    keys = list(dict.fromkeys(key for run in runs for key in run.keys))
    with_h = any("h" in run.results for run in runs)
    headers = ["", *keys, *["H"] * with_h, *(f"{key}, top 5" for key in keys)]
    headers += ["training, s", SEES]

    def cells(accuracy, h, top5):
        return [
            *(_percent(accuracy.get(key)) for key in keys),
            *[_percent(h)] * with_h,
            *(_percent((top5 or {}).get(key)) for key in keys),
        ]

    of_zero: dict[tuple[str, ...], list[str]] = {}  # the same for runs on equal data
    kind = runs[0].results.get("kind") or ""
    rows, own = [], []  # of runs of zero-shot CLIP
    for run in runs:
        found, zero = run.results, run.results["zero_shot"]
        if found["method"] != "zero_shot":
            line = cells(zero, zero.get("h"), found.get("zero_shot_top5"))
            of_zero.setdefault(tuple(line), []).append(run.label)
        line = cells(found["accuracy"], found.get("h"), found.get("top5"))
        seconds = f"{found.get('train_seconds') or 0:.0f}"
        rows.append([run.label, *line, seconds, _sees(run)])
        own += [tuple(line)] * (found["method"] == "zero_shot")
    for line, labels in of_zero.items():
        if line in own:
            continue
        beside = f", beside {', '.join(labels)}" if len(of_zero) > 1 else ""
        rows.insert(0, [f"{ZERO_SHOT}{beside}", *line, "", sees_at_test("zero_shot", kind)])
    return Table(headers, rows, "Accuracy, %")


def _ranks(run: Finished) -> Table:
    metrics, lines = compare_ranks(run.results, run.label)
    rows = [
        [
            f"{key}, {DIRECTIONS[way]}: {name}",
            *figures,
            sees_at_test("zero_shot", "videos") if name == ZERO_SHOT else _sees(run),
        ]
        for key, way, name, figures in lines
    ]
    return Table(["", *metrics, SEES], rows, f"{run.label}: R@K in %, mean and median rank")


def _sees(run: Finished) -> str:
    return sees_at_test(run.results["method"], run.results.get("kind") or "")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
