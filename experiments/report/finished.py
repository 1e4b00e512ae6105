"""Reads finished runs for a report: results, and images if these still exist."""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from experiments.figures.tables import shots_of
from experiments.record import runs, workdir
from experiments.record.files import reading_predictions
from experiments.record.files.predictions import predictions_file
from experiments.run import reopening
from experiments.setup.preparation import Prepared
from prompt_jax.errors import PromptError, escape
from prompt_jax.inputs.videos.sampling import choose
from prompt_jax.storage.local_paths import shorten_path

SIDE = 224  # pixels of the longer side of an image


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        folder: the run directory.
        label: its method; with variant, data, shots, seed or directory if other runs differ in it.
        data: name of the training data set, for an evaluation of the test sets; with root or hash
            if other runs use another data set of this name.
        results: the content of results.json.
        tests: its test sets by key; empty if its data no longer exists.
        prepared: the reopened run; None if its data or backbone no longer exists, or for an
            evaluation.
        missing: why there are no test sets.
        rows: predictions that have been read, by test set.
        left_out: a line for each damaged file or field, which the report omits.
    """

    folder: pathlib.Path
    label: str
    data: str
    results: Mapping[str, Any]
    tests: Mapping[str, Dataset]
    prepared: Prepared | None
    missing: str = ""
    rows: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    left_out: list[str] = dataclasses.field(default_factory=list)

    def report_damage(self, path: pathlib.Path, reason: object) -> None:
        """Records once that a file is damaged or belongs to another run."""
        line = f"{path} is left out, because it is damaged or of another run: {reason}"
        if line not in self.left_out:
            self.left_out.append(line)

    @property
    def keys(self) -> list[str]:
        """The keys of its test sets."""
        return list(self.results["accuracy"])

    def predictions(self, key: str) -> list[dict[str, Any]]:
        """Reads the predictions of a test set; [] if they are missing or damaged."""
        if key not in self.rows:
            self.rows[key] = self._read(key)
        return self.rows[key]

    def _read(self, key: str) -> list[dict[str, Any]]:
        path = self.folder / predictions_file(key)
        # Reports on retrieval show ranks instead.
        if "ranks" in self.results or not os.path.lexists(path):
            return []
        try:
            rows = reading_predictions.read(path, self.results["pictures"].get(f"test_{key}", 0))
            self._check(rows, key)
        except (OSError, ValueError) as error:
            self.report_damage(path, error)
            return []
        return rows

    def _check(self, rows: Sequence[Mapping[str, Any]], key: str) -> None:
        """Raises a ValueError if predictions and results.json disagree."""
        reached = self.results["accuracy"][key]
        percent = 100 * sum(row["right"] for row in rows) / len(rows)
        if abs(percent - reached) > 0.01:
            raise ValueError(f"accuracy {percent:.2f} %, but {reached:.2f} % in results.json")
        sure = 100 * sum(row["probabilities"][0] for row in rows) / len(rows)
        recorded = (self.results.get("confidence") or {}).get(key, sure)
        if abs(sure - recorded) > 0.01:
            raise ValueError(f"mean confidence {sure:.2f} %, but {recorded:.2f} % in results.json")

    def images(self, key: str, place: int, frames: int = 1) -> list[Image.Image]:
        """Reads an image, or `frames` frames of a video, of a test set; [] if it is unreadable."""
        dataset = self.tests.get(key)
        if dataset is None or place >= len(dataset.test):
            return []
        try:
            return read(dataset, dataset.test[place], frames)
        except (DataError, OSError):
            return []


def read(dataset: Dataset, example: Example, frames: int = 1) -> list[Image.Image]:
    """Reads an image, or evenly spaced frames of a video, scaled to `SIDE` pixels.

    Raises:
        DataError: it cannot be read.
    """
    found = dataset.read(example)
    if dataset.kind == "videos":
        chosen = choose("centre", found.count, frames, found.rate).tolist()
        images = list(found.frames(chosen))
    else:
        images = [found]
    smaller = [image.convert("RGB") for image in images]
    for image in smaller:
        image.thumbnail((SIDE, SIDE))
    return smaller


def read_all(folders: Sequence[pathlib.Path]) -> list[Finished]:
    """Reads the results of finished runs, without their data.

    Runs with a damaged results.json are left out with a note if others remain.

    Raises:
        PromptError: a directory holds no finished run, is named twice, or no run is left.
    """
    found: list[tuple[pathlib.Path, dict[str, Any], list[str]]] = []
    damaged: list[PromptError] = []
    for number, folder in enumerate(folders):
        if any(_same(folder, other) for other in folders[:number]):
            raise PromptError(f"{folder} is named twice; name each run once")
        try:
            found.append((folder, *workdir.read_finished(folder)))
        except PromptError as error:
            if not os.path.lexists(folder / "results.json"):
                raise
            damaged.append(error)
    if not found:
        raise damaged[0]
    for one_error in damaged:
        print(f"note: left out: {escape(str(one_error))}", file=sys.stderr)
    results = {folder: one for folder, one, _ in found}
    named = zip(found, _labels(results), _data_names([*results.values()]), strict=True)
    return [
        Finished(folder, label, data, one, {}, None, left_out=left_out)
        for (folder, one, left_out), label, data in named
    ]


def _same(folder: pathlib.Path, other: pathlib.Path) -> bool:
    return folder.exists() and other.exists() and folder.samefile(other)


def open_all(runs: Sequence[Finished]) -> list[Finished]:
    """Adds data and backbone to the runs of `read_all`, where these still exist."""
    opened: list[Finished] = []
    for one in runs:
        try:
            opened.append(_reopen(one, opened))
        except (DataError, PromptError, OSError) as error:
            opened.append(dataclasses.replace(one, missing=str(error)))
        except Exception as error:  # a damaged config may raise errors of any class
            reason = f"it cannot be reopened ({type(error).__name__}: {error})"
            opened.append(dataclasses.replace(one, missing=reason))
    return opened


def _reopen(run: Finished, opened: Sequence[Finished]) -> Finished:
    folder, results = run.folder, run.results
    if results["protocol"] == runs.EVALUATION:
        return dataclasses.replace(run, tests=reopening.evaluated(folder, results))
    shared = next(
        (
            one.prepared.backbone
            for one in opened
            if one.prepared
            and one.results["backbone_hash"] == results["backbone_hash"]
            and one.prepared.config.backbone == results["backbone"]
        ),
        None,
    )
    prepared = reopening.reopen(folder, shared)
    return dataclasses.replace(run, tests=prepared.plan.tests, prepared=prepared)


def _data(results: Mapping[str, Any]) -> str:
    of_tests = results["protocol"] == runs.EVALUATION
    return ", ".join(results["accuracy"]) if of_tests else results["dataset"]


def _data_names(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the name of each run's data set.

    If runs use different data sets of one name, often "folder", it has the name of the root
    directory, or the hash of the test data if these names are equal or unknown.
    """
    groups: dict[str, list[list[int]]] = {}  # by name, the runs on the same data
    for number, one in enumerate(results):
        alike = groups.setdefault(_data(one), [])
        for group in alike:
            if all(_same_data(one, results[other]) for other in group):
                group.append(number)
                break
        else:
            alike.append([number])
    found = [""] * len(results)
    for name, alike in groups.items():
        firsts = [results[group[0]] for group in alike]
        given = [str(one.get("config", {}).get("data", {}).get("root", "")) for one in firsts]
        roots = [shorten_path(root) for root in given]
        by_root = all(roots) and len({*roots}) == len(roots)
        for one, root, group in zip(firsts, roots, alike, strict=True):
            hashes = (one.get("data_hashes") or {}).get("tests") or {}
            digest = next(iter(hashes.values()), "")[: runs.SHOWN_DIGEST]
            apart = f"{name} in {root}" if by_root else f"{name} (data {digest})"
            for number in group:
                found[number] = apart if len(alike) > 1 else name
    return found


def _same_data(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether two runs have equal test sets; without common test sets, the same root."""
    tests = [(each.get("data_hashes") or {}).get("tests") or {} for each in (one, other)]
    common = tests[0].keys() & tests[1].keys()
    if common:
        return all(tests[0][key] == tests[1][key] for key in common)
    roots = [each.get("config", {}).get("data", {}).get("root") for each in (one, other)]
    return roots[0] == roots[1]


def _labels(results: Mapping[pathlib.Path, Mapping[str, Any]]) -> list[str]:
    """Returns each run's method and variant, with facts in which runs of that method differ."""
    facts = [
        (
            f"{one['method']} {one.get('variant') or ''}".strip(),
            (called, one["dataset"], shots_of(one), f"seed {one['seed']}"),
        )
        for one, called in zip(results.values(), _data_names([*results.values()]), strict=True)
    ]
    found = []
    for folder, (named, own) in zip(results, facts, strict=True):
        alike = [other for its_name, other in facts if its_name == named]
        parts = zip(*alike, strict=True)
        differences = [one for one, of_all in zip(own, parts, strict=True) if len({*of_all}) > 1]
        if alike.count(own) > 1:
            shown = shorten_path(str(folder))
            unique = sum(shorten_path(str(other)) == shown for other in results) == 1
            differences.append(shown if unique else str(folder))
        differences = list(dict.fromkeys(differences))
        found.append(f"{named} ({', '.join(differences)})" if differences else named)
    return found
