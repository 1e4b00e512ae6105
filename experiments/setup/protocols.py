"""Builds the training and test data of each protocol.

A new protocol needs a function and a line of `PARTS` here, and a line in config/protocols.py.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from data_pipelines import datasets, sampling
from data_pipelines.checks import lists
from data_pipelines.examples import Dataset
from experiments.config.config import Config
from experiments.config.data import Data
from experiments.setup import titles
from prompt_jax.errors import PromptError

Load = Callable[[str], Dataset]
"""Loads a full data set by "name" or "name:domain"."""
Parts = tuple[Dataset, dict[str, Dataset]]
"""The training data with its shots drawn, and test sets by their names in results."""


def base_to_novel(config: Config, load: Load) -> Parts:
    """Trains on the first half of the classes; tests each half among its own classes.

    Published lists define their own base and novel classes; the seed chooses the list.
    """
    if _has_lists(config.data, config.data.name):
        base = _drawn(config, load, "base_{}")
        new = replace(load(f"{config.data.name}:novel"), name=config.data.name)
        return base, {"base": base, "new": new}
    base, new = sampling.base_and_new(_few_shot(config, load))
    return base, {"base": base, "new": new}


def few_shot(config: Config, load: Load) -> Parts:
    """Trains and tests on all classes."""
    dataset = _few_shot(config, load)
    return dataset, {"test": dataset}


def transfer(config: Config, load: Load) -> Parts:
    """Trains on shots of all classes of one data set; tests on it and on other data sets.

    The source is tested only if it has test images.
    """
    return _with_targets(config, load, _few_shot(config, load))


def supervised(config: Config, load: Load) -> Parts:
    """Trains on all training examples of a data set; tests on its test examples."""
    dataset = load(config.data.key)
    return dataset, {"test": dataset}


def unlabeled(config: Config, load: Load) -> Parts:
    """Trains on all training examples of a data set, whose labels methods do not get.

    The class names are those of the data set. Tests on its test examples.
    """
    return supervised(config, load)


def zero_shot_transfer(config: Config, load: Load) -> Parts:
    """Trains on all of one data set; tests on it and on all test lists of other data sets."""
    return _with_targets(config, load, load(config.data.key))


def _with_targets(config: Config, load: Load, source: Dataset) -> Parts:
    tests = {titles.title_of(config.data, source.name): source} if source.test else {}
    for name in split_names(config.data.names):
        for part in _tested_parts(config, name):
            key = titles.title_of(config.data, part)
            if key not in tests:
                tests[key] = load(part)
    if not tests:
        raise PromptError(
            f"config.protocol={config.protocol} tests on the data sets of config.data.names, which "
            f"is empty, and {source.name} has no test images; name at least one data set"
        )
    return source, tests


def retrieval(config: Config, load: Load) -> Parts:
    """Trains on all captioned videos of a data set; tests on its test videos and on other sets."""
    source = load(config.data.key)
    others = [name for name in split_names(config.data.also_test) if name != source.name]
    tests = {"test": source} | {titles.title_of(config.data, name): load(name) for name in others}
    for dataset in tests.values():
        refuse_without_captions(dataset)
    return source, tests


PARTS: dict[str, Callable[[Config, Load], Parts]] = {
    "base_to_novel": base_to_novel,
    "few_shot": few_shot,
    "supervised": supervised,
    "unlabeled": unlabeled,
    "cross_dataset": transfer,
    "domain_generalization": transfer,
    "zero_shot_transfer": zero_shot_transfer,
    "retrieval": retrieval,
}
"""The function of each protocol of experiments/config/protocols.py."""


def refuse_without_captions(dataset: Dataset) -> None:
    """Raises a PromptError if the data set does not hold captioned videos."""
    if dataset.kind != "videos":
        raise PromptError(
            f"config.protocol=retrieval searches videos, and {dataset.name} holds images; use a "
            "data set of videos, e.g. emoji_clips, or a config of experiments/configs/images"
        )
    if lacking := next((one for one in (*dataset.train, *dataset.test) if not one.captions), None):
        raise PromptError(
            f"config.protocol=retrieval needs captions, and {lacking.image} of {dataset.name} "
            "has none"
        )


def _few_shot(config: Config, load: Load) -> Dataset:
    if _has_lists(config.data, config.data.name):
        return _drawn(config, load, f"few_shot_{config.data.shots}_{{}}")
    return sampling.few_shot(load(config.data.key), config.data.shots, config.seed)


def _drawn(config: Config, load: Load, part: str) -> Dataset:
    """Returns a published draw of training videos, under the name of the data set.

    Args:
        part: name of a part of the data set; "{}" stands for the number of the draw.

    Raises:
        PromptError: `data.domain` is set, although the protocol chooses it, or the list has
            another number of shots.
    """
    name, shots = config.data.name, config.data.shots
    if config.data.domain:
        raise PromptError(
            f"config.data.domain={config.data.domain}: config.protocol={config.protocol} chooses "
            f"the lists of {name} by config.data.shots and config.seed; omit it"
        )
    pattern = re.compile(part.format(r"(\d+)"))
    there = datasets.parts(name, config.data.root or None)
    draws = [int(match[1]) for one in there if (match := pattern.fullmatch(one))]
    # Without any draw, loading fails with a list of the parts that exist.
    draw = draws[(config.seed - 1) % len(draws)] if draws else 1
    dataset = load(f"{name}:{part.format(draw)}")
    if (most := max(lists.count(dataset.class_names, dataset.train))) != shots:
        raise PromptError(
            f"config.data.shots={shots}: the list {part.format(draw)} of {name} has {most} videos "
            f"per class; set config.data.shots={most}"
        )
    notes = dataset.notes
    if draws and draw != config.seed:
        numbers = ", ".join(map(str, draws))
        notes += (f"{name}: seed {config.seed} trains on draw {draw} of draws {numbers}",)
    # Seeds share a results table, so the draw is not part of the split's source.
    source = re.sub(r"(train|fs_base_s)\d+_", r"\1…_", dataset.split_source)
    return replace(dataset, name=name, notes=notes, split_source=source)


def _has_lists(data: Data, name: str) -> bool:
    """Returns whether published lists define the training and test examples of a data set."""
    return data.source == "coop" and datasets.has_published_parts(name)


def draws_by_seed(data: Data, name: str) -> bool:
    """Returns whether the seed alone draws the shots of a user's own data set."""
    key, _ = datasets.split_domain(name)
    if key not in datasets.TABLE:  # an error later
        return False
    return datasets.entry(name).is_own and not _has_lists(data, name)


def _tested_parts(config: Config, name: str) -> list[str]:
    """Returns the target or, for published lists in zero-shot transfer, all its test lists."""
    whole = ":" not in name and _has_lists(config.data, name)
    if config.protocol_spec.draws_shots or not whole:
        return [name]
    parts = datasets.parts(name, config.data.root or None)
    return [f"{name}:{part}" for part in parts if re.fullmatch(r"val\d*", part)]


def split_names(names: str) -> list[str]:
    """Returns the names in "a, b, c"."""
    return [name.strip() for name in names.split(",") if name.strip()]
