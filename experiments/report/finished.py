"""A finished run as a report reads it: its figures, and its pictures where they are still there."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from experiments.figures.tables import shots_of
from experiments.record import runs, workdir
from experiments.record.predictions import predictions_file
from experiments.run import reopening
from experiments.run.preparation import Prepared
from prompt_jax.errors import PromptError
from prompt_jax.inputs.clips.sampling import choose

SIDE = 224  # pixels of a picture's longer side: what a phone shows of it


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        folder: of the run.
        label: what sets it apart from the other runs of the page.
        results: its results.json.
        tests: its test sets by key; none where its data is gone.
        prepared: the run opened again; None where its data or backbone is gone, or nothing trained.
        missing: why there are no test sets, in words.
        rows: of predictions that were read, by key.
    """

    folder: pathlib.Path
    label: str
    results: Mapping[str, Any]
    tests: Mapping[str, Dataset]
    prepared: Prepared | None
    missing: str = ""
    rows: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)

    @property
    def data(self) -> str:
        """What it is about: the data set that it trained on, of an evaluation what was tested."""
        return _data(self.results)

    @property
    def keys(self) -> list[str]:
        """Of its test sets."""
        return list(self.results["accuracy"])

    def predictions(self, key: str) -> list[dict[str, Any]]:
        """The rows of a test set's predictions; none where the run left none.

        Raises:
            PromptError: the file cannot be read, or is another run's.
        """
        if key not in self.rows:
            self.rows[key] = self._read(key)
        return self.rows[key]

    def _read(self, key: str) -> list[dict[str, Any]]:
        path = self.folder / predictions_file(key)
        if not path.exists():
            return []
        try:
            rows = pyarrow.parquet.read_table(path).to_pylist()
            self._check(rows, key)
        except (OSError, ValueError, KeyError) as error:  # what pyarrow raises of files is both
            reason = str(error).splitlines()[0]
            raise PromptError(
                f"{path} holds no predictions of this run ({reason}); delete it to go without"
            ) from None
        return rows

    def _check(self, rows: Sequence[Mapping[str, Any]], key: str) -> None:
        """Raises a ValueError, or KeyError, for rows that are not what results.json counts."""
        if "ranks" in self.results:
            return
        number, there = len(rows), self.results["pictures"][f"test_{key}"]
        if number != there:
            raise ValueError(f"{number} rows, {there} in results.json")
        percent = 100 * sum(row["right"] for row in rows) / number
        if abs(percent - self.results["accuracy"][key]) > 0.01:
            reached = self.results["accuracy"][key]
            raise ValueError(f"{percent:.2f} % right, {reached:.2f} % in results.json")
        sure = 100 * sum(row["probabilities"][0] for row in rows) / number
        told = (self.results.get("confidence") or {}).get(key, sure)
        if abs(sure - told) > 0.01:
            raise ValueError(f"mean confidence {sure:.2f} %, {told:.2f} % in results.json")

    def pictures(self, key: str, place: int, frames: int = 1) -> list[Image.Image]:
        """An example of a test set, of a clip so many frames; none where it cannot be read."""
        dataset = self.tests.get(key)
        if dataset is None or place >= len(dataset.test):
            return []
        try:
            return read(dataset, dataset.test[place], frames)
        except (DataError, OSError):
            return []


def read(dataset: Dataset, example: Example, frames: int = 1) -> list[Image.Image]:
    """A picture, or frames of a clip evenly spread, of `SIDE` pixels at most.

    Raises:
        DataError: it cannot be read.
    """
    found = dataset.read(example)
    if dataset.kind == "clips":
        chosen = choose("centre", found.count, frames, found.rate).tolist()
        pictures = list(found.frames(chosen))
    else:
        pictures = [found]
    smaller = [picture.convert("RGB") for picture in pictures]
    for picture in smaller:
        picture.thumbnail((SIDE, SIDE))
    return smaller


def read_all(folders: Sequence[pathlib.Path]) -> dict[pathlib.Path, dict[str, Any]]:
    """The results of finished runs by their folders.

    Raises:
        PromptError: a folder holds no finished run, or the same one is named twice.
    """
    results: dict[pathlib.Path, dict[str, Any]] = {}
    for folder in folders:
        found = workdir.read_finished(folder)
        if any(folder.samefile(other) for other in results):
            raise PromptError(f"{folder} is named twice; name each run once")
        results[folder] = found
    return results


def open_all(results: Mapping[pathlib.Path, Mapping[str, Any]]) -> list[Finished]:
    """The finished runs of `read_all`, opened again as far as their data is there."""
    opened: list[Finished] = []
    for folder, label in zip(results, _labels(results), strict=True):
        one = Finished(folder, label, results[folder], {}, None)
        try:
            opened.append(_reopen(one, opened))
        except (DataError, PromptError) as error:
            opened.append(dataclasses.replace(one, missing=str(error)))
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


def _apart(results: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells runs of one method apart, in words."""
    seed = f"seed {results['seed']}"
    return _data(results), results["dataset"], shots_of(results), seed


def _labels(results: Mapping[pathlib.Path, Mapping[str, Any]]) -> list[str]:
    """Method and variant; of runs that share these, what sets them apart, at last the folder."""

    def name(one: Mapping[str, Any]) -> str:
        return f"{one['method']} {one.get('variant') or ''}".strip()

    found = []
    for folder, one in results.items():
        alike = [other for other in results.values() if name(other) == name(one)]
        parts = list(zip(*map(_apart, alike), strict=True))
        told = [own for own, of_all in zip(_apart(one), parts, strict=True) if len({*of_all}) > 1]
        if sum(_apart(other) == _apart(one) for other in alike) > 1:
            told.append(str(folder))
        told = list(dict.fromkeys(told))
        found.append(f"{name(one)} ({', '.join(told)})" if told else name(one))
    return found
