"""Compares zero-shot CLIP with the published figures, before anything is trained."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data_pipelines import datasets
from experiments.config.config import Config
from experiments.figures.papers import published
from experiments.figures.result_table import Key
from experiments.record import runs
from experiments.reproduce import measuring
from experiments.reproduce.published_tables import PublishedTable, columns, config
from experiments.run import sweep
from prompt_jax import methods
from prompt_jax.methods.record import AVERAGE, Published

TOLERANCE = 0.1
"""The largest difference from a published figure, in percentage points; of ranks, in places."""

EPSILON = 1e-9


class Check(NamedTuple):
    """Published figures of zero-shot CLIP for one protocol.

    Attributes:
        protocol: of the figures.
        rows: the figures.
        names: the data sets to measure.
    """

    protocol: str
    rows: Sequence[Published]
    names: Sequence[str]


def plan(table: PublishedTable, names: Sequence[str]) -> tuple[list[Check], list[str]]:
    """Returns what to compare, and the data sets without a figure of their own.

    A figure of another protocol checks data and weights as well: for images, the figures of single
    data sets are printed for base-to-novel. Protocols of videos differ in frames and views.

    Args:
        table: whose own row of zero-shot CLIP comes first.
        names: the data sets that its runs read.
    """
    own = [row for name, row in table.rows if name == table.zero_shot and not row.variant]
    known = methods.RECORDS[table.kind][table.zero_shot].published
    rows = [row for row in (*own, *known) if row.backbone == table.backbone and not row.ablation]
    protocols = [table.protocol, *(row.protocol for row in rows)]
    checks, left = [], list(names)
    for protocol in dict.fromkeys(protocols if table.kind == "images" else protocols[:1]):
        those = [row for row in rows if row.protocol == protocol]
        here = [name for name in left if any(name in row.figures for row in those)]
        averaged = published.AVERAGED.get(protocol, ())
        whole = averaged and {*averaged} <= {*names}
        if whole and left and any(AVERAGE in row.figures for row in those):
            here = [name for name in names if name in here or name in averaged]
        if here:
            checks.append(Check(protocol, those, here))
            left = [name for name in left if not any(name in row.figures for row in those)]
    return checks, left


def check(
    table: PublishedTable,
    of_rows: Config,
    folder: pathlib.Path,
    names: Sequence[str],
    problems_of: Mapping[str, Sequence[str]],
) -> tuple[list[str], list[str], list[str]]:
    """Measures zero-shot CLIP and compares it with the published figures.

    Args:
        table: the table.
        of_rows: config of the table's runs.
        folder: of the table's runs; finished ones are not repeated.
        names: the data sets that the table's runs read.
        problems_of: how the lists of data sets differ from the published ones, by name.

    Returns:
        a line for each equal figure; the data sets without a figure of their own; and a line for
        each figure that differs by more than `TOLERANCE`, which says what differs from the
        published template, split and preprocessing.
    """
    checks, alone = plan(table, names)
    place = of_rows.data.root, of_rows.backbone
    lines: list[str] = []
    problems: list[str] = []
    for one in checks:
        made = config(table, *place, of=[table.zero_shot], protocol=one.protocol, names=one.names)
        made = dataclasses.replace(made, backbone_title=of_rows.backbone_title)
        results = sweep.run(made, folder)
        tested = measuring.tested(folder, table.zero_shot, one.protocol)
        cells = measuring.cells(folder, one.protocol, "").get((table.zero_shot, ""), {})
        for row in one.rows:
            for key, printed in columns(row).items():
                if key in cells:
                    text = _compared(key, cells[key].mean, printed)
                    if abs(cells[key].mean - printed) <= TOLERANCE + EPSILON:
                        lines.append(f"{text}: equal")
                    else:
                        why = explain(key[0], results, tested, problems_of.get(key[0], ()))
                        problems.append(f"{text} ({row.source}): {why}")
    return lines, alone, list(dict.fromkeys(problems))


def _compared(key: Key, measured: float, printed: float) -> str:
    where = f"zero-shot CLIP on {key[0]}, {key[1]}"
    return f"{where}: {measured:.2f}, published {printed:.2f}, {measured - printed:+.2f}"


def explain(
    name: str,
    results: Sequence[Mapping[str, Any]],
    tested: Mapping[str, runs.Tested],
    problems: Sequence[str] = (),
) -> str:
    """Returns what differs from the published template, split and preprocessing of a data set.

    Args:
        name: the data set, or AVERAGE.
        results: contents of results.json of zero-shot CLIP.
        tested: the tested parts of data sets, by name.
        problems: how its lists differ from the published ones.
    """
    if name == AVERAGE:
        return "some of its data sets differ"
    one = next(one for one in results if name in (one["dataset"], *one["accuracy"]))
    entry = datasets.entry(name)
    found = []
    template = one["config"]["data"].get("template") or entry.template
    if template != entry.template:
        found.append(f"template: {template!r}, published {entry.template!r}")
    split = published.data_difference(name, *tested[name]) if name in tested else ""
    parts = dict.fromkeys([split.removeprefix(f"{name}: "), *problems])
    found += [f"split: {part}" for part in parts if part]
    if changed := one.get("preprocessing"):
        listed = ", ".join(f"{field} {value}" for field, value in changed.items())
        found.append(f"preprocessing: {listed}, unlike CLIP's")
    if found:
        return f"what differs: {'; '.join(found)}"
    return "template, split and preprocessing are the published ones, so check the weights"
