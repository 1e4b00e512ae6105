"""Checks which data sets exist, whether they are complete, and whether every file can be read.

    python -m data_pipelines.check --root DATA                # every data set of the table
    python -m data_pipelines.check --root DATA --names dtd,caltech101
    python -m data_pipelines.check --root DATA --quick        # only whether files exist
    python -m data_pipelines.check --root OWN --names folder --sheet sheet.png   # and draw examples

A data set passes if it is readable, has test images and more than one class, and matches the
published split and numbers of images and classes (TFDS may split differently). It fails if an image
is listed twice, a class is only in train or only in test, or two class names make the same prompt;
own images also fail if a file is copied to another split (not checked by --quick). Videos are
checked in the same way. Notes do not change the exit code, e.g. on directories below a class, on
captions shared by test videos, and on own images that look alike in two splits (needs the extra
`check`).

Exit code 0: every data set that was found (or named) passes; 1: one fails, or none was found;
2: an error in the command line.
"""

import sys

from prompt_jax.cli import commands
from prompt_jax.inputs.images import thumbnails

if __name__ == "__main__":  # before the imports below, so that Ctrl-C works while they run
    sys.exit(commands.run("data_pipelines.check", "main", sys.argv[1:]))

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich import markup
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_pipelines import datasets
from data_pipelines.checks import lists, near_copies, sheet
from data_pipelines.checks.findings import Finding, passed, report
from data_pipelines.checks.lists import Copy, Remark
from data_pipelines.errors import DataError, escape, unknown
from data_pipelines.examples import Dataset
from data_pipelines.images.readers import backslash_advice, find_bad, missing_files
from data_pipelines.layouts.coop import CoopLayout
from data_pipelines.layouts.layout import SPLITS, expand, find_home, read_json

_SHOWN = 50  # listed copies
_OF_OWN_DATA = {
    "leave-out": "a,b, classes to leave out",
    "class-names": "CSV file with class names, directory,name",
    "columns": "names of columns in a list, path=video,caption=text",
}


def check(
    name: str,
    root: Path,
    source: str = "coop",
    quick: bool = False,
    start: Callable[[int], Callable[[], object]] | None = None,
    **options: str,
) -> Finding:
    """Checks one data set.

    Args:
        name: a key of the table of data sets, or "key:domain".
        root: the directory that contains its directory, or that directory itself; TFDS's data_dir.
        source: "coop" or "tfds".
        quick: check only that the files exist, without decoding them.
        start: called with the number of images to decode; returns a function to call after each.
        **options: of `datasets.load`, for own data.

    Returns:
        The finding; missing or damaged data raises no error.
    """
    entry = datasets.entry(name)
    loaded, problems = _load(name, root, source, options)
    if not loaded:
        folder = _folder(entry, root, source)
        if folder is not None and entry.url and not os.path.exists(folder):
            return Finding(name, False, None, (_where_to_get(name, entry, root, source),))
        return Finding(name, True, None, tuple(problems[:1]))
    dataset = loaded[0]
    problems += [*_compare(entry, dataset, source), *_split_file(entry, root, source)]
    for each in loaded:
        where = "" if each is dataset else f"{datasets.split_domain(each.name)[1]}: "
        problems += [where + remark.text for remark in _lists(entry, each)]
    parts = [part for each in loaded for part in lists.splits(each)]
    examples = [example for part in parts for example in part.examples]
    missing = missing_files(dataset, examples)
    problems += [f"missing: {image}" for image in missing]
    problems += filter(None, [backslash_advice(missing)])
    copied: list[str] = []
    if not quick:
        if entry.is_own:
            found = lists.find_copies(own := lists.splits(dataset))
            problems += [remark.text for remark in lists.copies(own, found)]
            copied = _listed(found)
        gone = set(missing)
        present = [example for example in examples if example.image not in gone]
        advance = start(len({example.image for example in present})) if start else None
        bad = find_bad(dataset, present, advance)
        problems += [f"cannot be read: {path}: {reason}" for path, reason in bad]
    shared = lists.same_captions(lists.splits(dataset)[-1])
    alike = near_copies.notes(dataset) if entry.is_own and not quick else []
    named = (
        lists.problematic_names(dataset.class_names, dataset.template)
        if dataset.has_classes
        else []
    )
    notes = (*dataset.notes, *(remark.text for remark in [*named, *shared]), *copied, *alike)
    return Finding(name, True, dataset, tuple(problems), notes)


def _listed(found: Sequence[Copy]) -> list[str]:
    """Lists the first copies with their originals; a single one is in the problem itself."""
    if len(found) < 2:
        return []
    shown = [f"{one.image} is a copy of {one.other}" for one in found[:_SHOWN]]
    return shown + [f"… and {len(found) - _SHOWN:,} more copies"] * (len(found) > _SHOWN)


def _load(
    name: str, root: Path, source: str, options: Mapping[str, str]
) -> tuple[list[Dataset], list[str]]:
    """Loads a data set and its parts; returns them and the problems with the others."""
    loaded, problems, names = [], [], [name]
    if source == "coop" and ":" not in name:
        with contextlib.suppress(DataError):  # loading raises it again
            names += [f"{name}:{part}" for part in datasets.parts(name, root)]
    for each in names:
        try:
            loaded.append(datasets.load(each, root, source, **options))
        except DataError as error:
            problems.append(str(error).splitlines()[0])
    return loaded, problems


def _where_to_get(name: str, entry: datasets.Entry, root: Path, source: str) -> str:
    place = shlex.quote(str(root))
    if source == "tfds":
        command = f"tfds build {entry.tfds} --file_format=array_record --data_dir {place}"
    elif entry.archives:
        command = f"python -m data_pipelines.download {name} --root {place}"
    else:
        return f"download it from {entry.url}"
    return f"download it with: {command} (its page: {entry.url})"


def _folder(entry: datasets.Entry, root: Path, source: str) -> Path | None:
    """Returns the data set's directory, existing or not; None if its name is not fixed."""
    if source == "tfds":
        return root / entry.tfds.split("/")[0].split(":")[0] if entry.tfds else None
    folder = getattr(entry.layout, "folder", None)
    return None if folder is None else root / folder


def _compare(entry: datasets.Entry, dataset: Dataset, source: str) -> list[str]:
    """Returns differences from the published numbers; parts are not compared."""
    if entry.counts is None or ":" in dataset.name:
        return []
    problems = []
    classes = len(dataset.class_names)
    if entry.num_classes is not None and classes != entry.num_classes:
        problems.append(f"{classes} classes; published: {entry.num_classes}")
    for split, published in zip(SPLITS, entry.counts, strict=True):
        count = len(getattr(dataset, split))
        if published and not count:
            missing = f"0 of {published} {dataset.kind}"
            problems.append(f"{split} missing: {missing}; download it from {entry.url}")
        # TFDS has its own splits, so other counts are correct there.
        elif source == "coop" and published is not None and count != published:
            problems.append(f"{split}: {count} {dataset.kind}; published: {published}")
    return problems


def _split_file(entry: datasets.Entry, root: Path, source: str) -> list[str]:
    """Checks that the split file contains the published split, in any JSON formatting."""
    layout = entry.layout
    if source != "coop" or entry.split_sha256 is None or not isinstance(layout, CoopLayout):
        return []
    home = find_home(entry.title, root, layout.folder, layout.split, "split file", "")
    content = read_json(home / layout.split, "split file")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    found = hashlib.sha256(text.encode()).hexdigest()
    if found == entry.split_sha256:
        return []
    return [
        f"{layout.split} differs from the published split: its content has the sha256 "
        f"{found[:12]}…; published: {entry.split_sha256[:12]}…"
    ]


def _lists(entry: datasets.Entry, dataset: Dataset) -> list[Remark]:
    """Returns one remark for each kind of problem with the lists, published or not."""
    train, _, test = parts = lists.splits(dataset)
    found = lists.listed_twice(parts)
    if not dataset.test and not (entry.counts and entry.counts[2]):
        found.append(Remark(f"no test {dataset.kind}, but {len(dataset.train)} for training"))
    if not dataset.has_classes:
        return found
    # Some data sets have only a test split.
    if dataset.train and dataset.test:
        found += lists.unmatched_classes(test, train) + lists.unmatched_classes(train, test)
    return found + lists.one_class(dataset.name, dataset.class_names)


def run(
    names: Sequence[str], root: Path, source: str, quick: bool, **options: str
) -> list[Finding]:
    """Checks all `names` with a progress bar each, and returns the findings in order.

    For the arguments see `check`.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    findings = []
    # On stderr, so that the report can be redirected to a file.
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        for name in names:

            def start(count: int, name: str = name) -> Callable[[], object]:
                task = progress.add_task(markup.escape(escape(name)), total=count)
                return lambda: progress.advance(task)

            findings.append(check(name, root, source, quick, start, **options))
    return findings


def _draw(finding: Finding, path: Path) -> None:
    """Draws the sheet of a data set that could be loaded; otherwise the report has the reason."""
    if finding.dataset is None or not finding.dataset.has_classes:
        print("no sheet: the data set has no classes")
        return
    for file in sheet.draw(path, finding.dataset):
        print(escape(f"examples of the classes are in {file}"))


def _names(text: str | None, source: str) -> list[str]:
    if text is None:
        # The others are rendered, or a user's own.
        published = {name: entry for name, entry in datasets.TABLE.items() if entry.counts}
        return [name for name, entry in published.items() if source == "coop" or entry.tfds]
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if datasets.split_domain(name)[0] not in datasets.TABLE:
            raise unknown("data set", name, datasets.TABLE)
    if not names:
        raise DataError("--names is empty; pass names separated by commas, or omit it")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = commands.make_parser("data_pipelines.check", __doc__)
    parser.add_argument("--root", required=True, help="the directory of the data sets")
    parser.add_argument("--names", help="data sets, separated by commas (default: all)")
    parser.add_argument(
        "--source", choices=datasets.SOURCES, default="coop", help="layout of the files (coop)"
    )
    parser.add_argument("--quick", action="store_true", help="do not decode images and videos")
    parser.add_argument(
        "--sheet",
        metavar="FILE",
        help=f"draw {sheet.EXAMPLES} examples of each class of the data set in --names, "
        f"{sheet.CLASSES} classes per page; the second page is FILE-2",
    )
    for flag, what in _OF_OWN_DATA.items():
        parser.add_argument(f"--{flag}", metavar="TEXT", default="", help=f"own data: {what}")
    options = parser.parse_args(arguments)
    fields = [flag.replace("-", "_") for flag in _OF_OWN_DATA]
    of_own = {field: value for field in fields if (value := getattr(options, field))}
    root = expand(options.root)
    try:
        names = _names(options.names, options.source)
    except DataError as error:
        parser.error(str(error))
    if not os.path.exists(root):  # a user's own CSV is a file
        parser.error(f"--root={root}: no such directory")
    if options.sheet is not None and (options.names is None or len(names) > 1):
        parser.error(f"--sheet={options.sheet} needs exactly one data set in --names")
    if options.sheet is not None and (problem := thumbnails.writing_problem(expand(options.sheet))):
        parser.error(problem)
    findings = run(names, root, options.source, options.quick, **of_own)
    report(findings, root, Console())
    if options.sheet is not None:
        try:
            _draw(findings[0], expand(options.sheet))
        except DataError as error:
            parser.error(str(error))
    return 0 if passed(findings, options.names is not None) else 1
