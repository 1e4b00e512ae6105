"""Says what a table needs: data sets and their size, runs, hours on this machine."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_pipelines import check, datasets
from data_pipelines.examples import Dataset
from experiments.config.config import Config
from experiments.reproduce import timing
from experiments.reproduce.published_tables import data_sets
from experiments.setup import building, plans

GIGA = 1e9
_ANY_SIZE = 224  # in pixels; numbers of images do not depend on it


class Needs(NamedTuple):
    """What a table needs.

    Attributes:
        lines: to print.
        problems: by data set: why it cannot be read, or how it differs from the published one.
        loaded: the lists of those that can be read.
    """

    lines: list[str]
    problems: dict[str, list[str]]
    loaded: dict[str, Dataset]


def find(names: Sequence[str], root: str) -> Needs:
    """Looks for data sets below `root` and compares their lists with the published ones."""
    lines: list[str] = []
    problems: dict[str, list[str]] = {}
    loaded: dict[str, Dataset] = {}
    for name in names:
        finding = check.check(name, Path(root), quick=True)
        entry = datasets.entry(name)
        if finding.problems:
            problems[name] = [*finding.problems]
        if finding.dataset is None:
            lines.append(f"{entry.title}: missing, {_size(entry.gigabytes)} to download")
            continue
        loaded[name] = finding.dataset
        there = _bytes(finding.dataset)
        size = f", {there / GIGA:.2f} GB" if there else ""
        state = "differs from the published one" if finding.problems else "complete"
        lines.append(f"{entry.title}: here{size}, {state}")
    sizes = [datasets.entry(name).gigabytes for name in names if name not in loaded]
    if len(sizes) > 1 and any(sizes):
        unknown = " and those of unknown size" if None in sizes else ""
        lines.append(f"to download: about {sum(filter(None, sizes)):,.0f} GB{unknown}")
    return Needs(lines, problems, loaded)


def _size(gigabytes: float | None) -> str:
    return "an unknown number of GB" if gigabytes is None else f"about {gigabytes:g} GB"


def _bytes(dataset: Dataset) -> int:
    """Returns the bytes of a data set's images or videos; 0 if they are not files."""
    if dataset.folder is None:
        return 0
    names = {one.image for part in (dataset.train, dataset.val, dataset.test) for one in part}
    total = 0
    for name in names:
        try:
            total += os.stat(dataset.folder / name).st_size
        except OSError:  # a missing file is one of the problems
            continue
    return total


def work(one: Config, loaded: Mapping[str, Dataset]) -> timing.Work | None:
    """Returns the work of one run by the published counts of its data sets; None if unknown.

    Args:
        one: config of the run.
        loaded: the data sets that are here, by name.
    """
    name, spec = one.data.name, one.protocol_spec
    entry, here = datasets.entry(name), loaded.get(name)
    if entry.counts is None:
        return _of_plan(one)
    train, _, test = entry.counts
    if spec.by_captions:
        if here is None:
            return None  # captions per video are not part of the published counts
        pairs = sum(len(example.captions) for example in here.train)
        return timing.Work(0, pairs, len(here.test), 0)
    classes = entry.num_classes or (len(here.class_names) if here else 0)
    tested = [datasets.entry(each) for each in data_sets(one)] if spec.tests_others else [entry]
    tests = sum((each.counts or (0, 0, 0))[2] or 0 for each in tested)
    if one.protocol == "base_to_novel":
        classes = -(-classes // 2)
    images = one.data.shots * classes if spec.draws_shots else train or (here and len(here.train))
    if not images or not classes or not (tests or test):
        return None
    most = max(each.num_classes or classes for each in tested)
    return timing.Work(classes, images, tests, classes if one.protocol == "base_to_novel" else most)


def _of_plan(one: Config) -> timing.Work | None:
    """Returns the work of a run on data without published counts, by its lists."""
    plan = plans.build(building.check(one), _ANY_SIZE, uses_validation=False)
    tests = sum(len(dataset.test) for dataset in plan.tests.values())
    most = max(len(dataset.class_names) for dataset in plan.tests.values())
    return timing.Work(len(plan.train.class_names), len(plan.train.train), tests, most)


def hours(runs: Mapping[str, Config], loaded: Mapping[str, Dataset]) -> Iterator[str]:
    """Yields a line on the time of each method, once its steps are timed on this machine."""
    works = {name: work(one, loaded) for name, one in runs.items()}
    unknown = {runs[name].data.key for name, found in works.items() if found is None}
    clock = timing.Clock(max((found.classes for found in works.values() if found), default=1))
    total = 0.0
    for method in dict.fromkeys(one.method for one in runs.values()):
        those = [(runs[name], found) for name, found in works.items() if found]
        seconds = sum(clock.seconds(*each) for each in those if each[0].method == method)
        total += seconds
        yield f"{method}: about {timing.in_words(seconds)}"
    yield f"together: about {timing.in_words(total)}"
    if unknown:
        listed = ", ".join(sorted(unknown))
        yield f"not counted, because their lists are not here: {listed}"
