"""Prints the data of a run at its start: classes, counts, and problems in the lists."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_pipelines import datasets
from data_pipelines.checks import lists
from data_pipelines.checks.lists import Part, Remark
from data_pipelines.errors import DataError, escape
from data_pipelines.examples import Dataset, Example
from experiments.setup.plans import Plan
from prompt_jax.text.class_names import distinct

_LISTED = 20  # at most this many classes are listed in full; of more, the first few
_FIRST = 3
_LONGEST_NAME = 40


def show(plan: Plan, shots: int, trains: bool) -> Plan:
    """Prints the training and test data of a run, with notes on problems.

    Args:
        plan: data of the run.
        shots: requested training images per class.
        trains: whether the method uses the training images.

    Returns:
        The plan, with the notes.

    Raises:
        DataError: results on these lists would be meaningless; lists the reasons.
    """
    Console().print(table(plan, shots, trains))
    for line in describe(plan, trains):
        print(escape(line))
    found = remarks(plan, shots, trains)
    for remark in found:
        if not remark.stops:
            print(escape(f"note: {remark.text}"))
    wrong = [escape(remark.text) for remark in found if remark.stops]
    if wrong:
        listed = f" {wrong[0]}" if len(wrong) == 1 else "".join(f"\n  {text}" for text in wrong)
        raise DataError(f"the results of this run would be meaningless:{listed}")
    return dataclasses.replace(plan, notes=tuple(escape(remark.text) for remark in found))


def add_notes(plan: Plan, notes: Sequence[str]) -> Plan:
    """Prints notes and returns the plan with these notes before its own."""
    for note in notes:
        print(escape(f"note: {note}"))
    return dataclasses.replace(plan, notes=(*map(escape, notes), *plan.notes))


class _Row(NamedTuple):
    """Examples of a data set in one role: train, val or test; with their title in results."""

    role: str
    title: str
    dataset: Dataset
    examples: Sequence[Example]


def _rows(plan: Plan, trains: bool) -> list[_Row]:
    rows = []
    if trains:
        rows.append(_Row("train", plan.title, plan.train, plan.train.train))
        if plan.train.val and not plan.by_captions:
            rows.append(_Row("val", plan.title, plan.train, plan.train.val))
    for key, dataset in plan.tests.items():
        title = plan.title if key == "test" else key
        rows.append(_Row("test", title, dataset, dataset.test))
    return rows


def table(plan: Plan, shots: int, trains: bool) -> Table:
    """Returns a table with a row for training, validation and each test set.

    Args:
        plan, shots, trains: see `show`.

    Returns:
        Columns: classes, examples, examples per class (fewest to most), requested shots, and
        training images that were not drawn, if known; for retrieval, videos and captions.
    """
    result = Table(box=None, pad_edge=False)
    kind = plan.train.kind
    drawn = trains and shots > 0 and not plan.by_captions
    headings = ["classes", kind, "per class", *["shots", "not drawn"] * drawn]
    for heading in ("", "data set"):
        result.add_column(heading)
    for heading in [kind, "captions"] if plan.by_captions else headings:
        result.add_column(heading, justify="right")
    known: tuple[str, ...] = ()
    for row in _rows(plan, trains):
        number = f"{len(row.examples):,}"
        names = () if plan.by_captions else row.dataset.class_names
        if plan.by_captions:
            cells = [number, f"{sum(len(one.captions) for one in row.examples):,}"]
        else:
            same = "the same " * (known == names)
            known = known or names
            cells = [f"{same}{len(names):,}", number, _each(names, row.examples)]
        if row.role == "train" and drawn:
            drawable = set(row.dataset.classes.ids or names)
            undrawn = sum(one.class_key in drawable for one in plan.undrawn)  # of base classes only
            cells += [f"{shots:,}", f"{undrawn:,}" if undrawn else ""]
        # As Text, so that brackets in names are not read as markup.
        result.add_row(*(Text(_short(cell)) for cell in (row.role, row.title, *cells)))
    return result


def _each(names: Sequence[str], examples: Sequence[Example]) -> str:
    counts = lists.count(names, examples)
    least, most = min(counts), max(counts)
    return f"{f'{least:,} to ' * (least < most)}{most:,}"


def describe(plan: Plan, trains: bool) -> list[str]:
    """Returns lines that list the classes of each row, once per set of classes, and exclusions."""
    lines: list[str] = []
    known: set[tuple[str, ...]] = set()
    for row in [] if plan.by_captions else _rows(plan, trains):
        names = row.dataset.class_names
        if names not in known:
            lines.append(f"{row.role} ({_short(row.title)}): {_listed(names, row.examples)}")
        known.add(names)
    if plan.bad:
        path, reason = plan.bad[0]
        lines.append(
            f"excluded: {len(plan.bad):,} unreadable {plan.train.kind}, e.g. {path}: {reason}"
        )
    if plan.replacements:
        number = f"{len(plan.replacements):,} {plan.train.kind}"
        lines.append(f"replacements: {number}, e.g. {plan.replacements[0]}")
    return lines


def _listed(names: Sequence[str], examples: Sequence[Example]) -> str:
    shown = [_short(name) for name in distinct(names)]
    if len(names) > _LISTED:
        return f"{', '.join(shown[:_FIRST])}, … and {len(names) - _FIRST:,} more"
    counts = lists.count(names, examples)
    if min(counts) < max(counts):
        shown = [f"{name} ({number:,})" for name, number in zip(shown, counts, strict=True)]
    return ", ".join(shown)


def _short(name: str) -> str:
    text = escape(name)
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…"


def shots_per_class(plan: Plan) -> list[int] | None:
    """Returns the fewest and the most training images of a class; None without classes."""
    if plan.by_captions:
        return None
    counts = lists.count(plan.train.class_names, plan.train.train)
    return [min(counts), max(counts)]


WHOLE = (
    ", four in all: base-to-novel, the default, splits them in half; --config.protocol=few_shot "
    "trains and tests on all"
)


def remarks(plan: Plan, shots: int, trains: bool) -> list[Remark]:
    """Returns problems of the lists that affect the results."""
    train = Part("train", plan.train, plan.train.train)
    tests = [
        Part("test" if key == "test" else f"test {key}", dataset, dataset.test)
        for key, dataset in plan.tests.items()
    ]
    if plan.by_captions:
        return _remarks_on_captions(train, tests, trains)
    found = []
    if trains:
        found += lists.one_class("train", plan.train.class_names)
        found += _without(train) + lists.fewer_than(shots, train)
    parts = [train, Part("val", plan.train, plan.train.val), *tests] if trains else tests
    found += lists.listed_twice(parts)
    # Only user data: published sets are fixed, and hashing them takes long.
    found += lists.copies([part for part in parts if _is_own(part)])
    for part in tests:
        advice = WHOLE if set(plan.tests) == {"base", "new"} else ""
        found += lists.one_class(part.role, part.dataset.class_names, advice) + _without(part)
    for part in [train, *tests] if trains else tests:
        found += [Remark(note) for note in part.dataset.notes]
        found += lists.problematic_names(part.dataset.class_names, part.dataset.template)
    return list(dict.fromkeys(found))


def _remarks_on_captions(train: Part, tests: Sequence[Part], trains: bool) -> list[Remark]:
    """Returns the remarks for retrieval; see `remarks`."""
    found: list[Remark] = []
    for part in [train, *tests]:
        found += [Remark(note) for note in part.dataset.notes]
    for part in [train, *tests] if trains else tests:
        found += lists.one_video(part)
    for part in tests:
        found += lists.same_captions(part)
    # Test sets with a different split may contain training videos of the source.
    own = [part for part in tests if part.role == "test" and trains]
    for parts in [[train, *own]] * trains + [[part] for part in tests if part not in own]:
        found += lists.listed_twice(parts)
    found += lists.copies([part for part in [*[train] * trains, *tests] if _is_own(part)])
    return list(dict.fromkeys(found))


def _without(part: Part) -> list[Remark]:
    names = part.dataset.class_names
    counts = lists.count(names, part.examples)
    empty = [repr(name) for name, number in zip(names, counts, strict=True) if not number]
    return lists.summary(f"{part.role}: classes without {part.dataset.kind}", empty)


def _is_own(part: Part) -> bool:
    return datasets.entry(part.dataset.name).is_own
