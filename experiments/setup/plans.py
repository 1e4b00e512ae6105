"""Training and test sets of a run, with their hashes and checks."""

import contextlib
import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from data_pipelines import datasets, sampling
from data_pipelines.errors import BadImage, DataError, escape
from data_pipelines.examples import Dataset, Example
from data_pipelines.images import readers
from data_pipelines.layouts import automatic
from experiments.config.config import Config
from experiments.config.data import Data
from experiments.record import identity
from experiments.setup import protocols, titles
from experiments.setup.batches import RunBatches, make_batches
from prompt_jax.cli import progress
from prompt_jax.errors import PromptError
from prompt_jax.inputs.images.preprocessing import CLIP, Preprocessing

DATA_OPTIONS = (
    "num_classes",
    "num_objects",
    "train_per_class",
    "test_per_class",
    "template",
    "leave_out",
    "class_names",
    "columns",
    "split_file",
    "ignore_rotation",
)
# Checking fewer images takes a second or two.
MANY = 5000
SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Plan:
    """The data of a run.

    Attributes:
        train: training data; its `train` holds the shots, its `val` the validation images.
        tests: test sets by their names in results; their `test` examples are tested.
        hashes: hashes of the images, which distinguish data of the same name; see
            `identity.of_images`.
        batches: reads the images or videos.
        undrawn: training images of user data that the seed did not draw.
        drawn_from: the full data set that the seed drew `train` from; None if published lists
            define `train`.
        seed: seed of the draw.
        bad: (path, reason) of excluded images.
        replacements: keys of training and validation images drawn in place of excluded ones.
        by_captions: the task is retrieval by captions, not classification.
        auto_split: the full data sets that came without a split.
        given_title: title of the training data in results; "" for its name.
        notes: notes about the data that are printed at the start.
    """

    train: Dataset
    tests: Mapping[str, Dataset]
    hashes: dict[str, Any]
    batches: RunBatches
    undrawn: tuple[Example, ...] = ()
    drawn_from: Dataset | None = None
    seed: int = 0
    bad: tuple[tuple[str, str], ...] = ()
    replacements: tuple[str, ...] = ()
    by_captions: bool = False
    auto_split: tuple[Dataset, ...] = ()
    given_title: str = ""
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Returns the name of the training data in results."""
        return self.given_title or self.train.name

    def used(self, dataset: Dataset) -> list[Example]:
        """Returns all examples of the run that are stored with `dataset`, e.g. of both halves."""
        parts = [(self.train, (*self.train.train, *self.train.val))]
        parts += [(tested, tested.test) for tested in self.tests.values()]
        return [
            one
            for part, examples in parts
            if _storage(part) == _storage(dataset)
            for one in examples
        ]

    @contextlib.contextmanager
    def listing_all_bad(self, dataset: Dataset | None = None) -> Iterator[None]:
        """Turns an error about one unreadable image into one that lists all of the run."""
        dataset = dataset or self.train
        try:
            yield
        except BadImage as bad:
            raise readers.all_bad_error(dataset, self.used(dataset), bad) from bad


def build(
    config: Config,
    image_size: int,
    uses_validation: bool,
    preprocessing: Preprocessing = CLIP,
    share: tuple[int, int] = (0, 1),
) -> Plan:
    """Returns the data of a config; reads lists, but no images.

    Args:
        config: config of the run.
        image_size: image size of the backbone, in pixels; scenes are rendered for it.
        uses_validation: whether the method uses validation images.
        preprocessing: preprocessing of the images.
        share: see `make_batches`.

    Raises:
        DataError: data is missing or malformed.
        PromptError: the protocol has no test set.
    """
    bad: dict[str, str] = {}

    @functools.cache
    def load(key: str) -> Dataset:
        dataset = load_dataset(config.data, key, image_size)
        if config.data.on_bad_image == "skip":  # before it is split, and shots are drawn
            dataset, found = automatic.leave_out_bad(dataset)
            bad.update(found)
        return dataset

    by_captions = config.protocol_spec.by_captions
    train, tests = protocols.PARTS[config.protocol](config, load)
    if not by_captions:
        train, tests = without_captions(train), {k: without_captions(d) for k, d in tests.items()}
    _refuse_validation_alone(train)
    if not uses_validation:
        train = dataclasses.replace(train, val=())
    return Plan(
        train,
        tests,
        identity.of_images(train, tests),
        make_batches(config, image_size, train.kind, preprocessing, share),
        _undrawn(load, train),
        _drawn_from(config, load, train, by_captions),
        config.seed,
        tuple(bad.items()),
        by_captions=by_captions,
        auto_split=_auto_split(load, (train, *tests.values())),
        given_title=titles.title_of(config.data, train.name),
    )


def load_dataset(data: Data, key: str, image_size: int) -> Dataset:
    """Returns a full data set by its key, "name" or "name:domain", with the options of `data`.

    Raises:
        DataError: the data set is missing or malformed.
    """
    return datasets.load(key, data.root or None, **_options(data, key, image_size))


def without_captions(dataset: Dataset) -> Dataset:
    """Returns the data set without captions; an epoch then contains each video once."""

    def drop(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(example._replace(captions=()) for example in examples)

    return dataclasses.replace(
        dataset, train=drop(dataset.train), val=drop(dataset.val), test=drop(dataset.test)
    )


def _options(data: Data, key: str, image_size: int) -> dict[str, Any]:
    """Returns the loading options of the data set `key`."""
    name, _ = datasets.split_domain(key)
    options: dict[str, Any] = {"source": data.source}
    if name == data.name:
        options |= {field: value for field in DATA_OPTIONS if (value := getattr(data, field))}
    if name.startswith("emoji_"):
        # Scenes are drawn with at most 96 pixels; for larger towers they are enlarged.
        options["size"] = min(max(image_size, 32), 96)
    return options


def _refuse_validation_alone(dataset: Dataset) -> None:
    """Raises a DataError if a class has only validation images."""
    used_labels = {example.label for example in (*dataset.train, *dataset.test)}
    alone = [repr(e.name) for e in dataset.val if e.label not in used_labels]
    if alone:
        raise DataError(
            f"{dataset.name}: the class {alone[0]} has only validation images; add training or "
            "test images, or remove the class"
        )


def _auto_split(load: protocols.Load, parts: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """Returns the full data sets of `parts` that came without a split."""
    names = dict.fromkeys(part.name for part in parts if automatic.is_automatic(part))
    return tuple(load(name) for name in names)


def _undrawn(load: protocols.Load, train: Dataset) -> tuple[Example, ...]:
    """Returns the training images that were not drawn, for user data without published lists."""
    name = train.name
    if datasets.has_published_parts(name) or not datasets.entry(name).is_own:
        return ()
    drawn = {example.image for example in train.train}
    return tuple(example for example in load(name).train if example.image not in drawn)


def _drawn_from(
    config: Config, load: protocols.Load, train: Dataset, by_captions: bool
) -> Dataset | None:
    """Returns the data set that the seed drew `train` from; None if it drew nothing."""
    in_lists = config.data.source == "coop" and datasets.has_published_parts(train.name)
    if in_lists or not config.protocol_spec.draws_shots:
        return None
    whole = load(train.name)
    return whole if by_captions else without_captions(whole)


def check_images(plan: Plan, skip_bad: bool = False) -> Plan:
    """Checks all images of the run before training.

    Prints unreadable training images of user data that the seed did not draw.

    Args:
        plan: data of the run.
        skip_bad: decode the images and exclude unreadable ones, instead of checking only their
            files and headers. Excluded shots are replaced by other images of their classes.

    Returns:
        The plan; with `skip_bad`, without unreadable images.

    Raises:
        DataError: lists missing and unreadable images, if `skip_bad` is False.
    """
    _note_undrawn(plan)
    if skip_bad:
        return _without_bad(plan)
    for dataset in {_storage(d): d for d in (plan.train, *plan.tests.values())}.values():
        _refuse_broken(dataset, plan.used(dataset))
    return plan


def _note_undrawn(plan: Plan) -> None:
    bad = _broken(plan.train, plan.undrawn)
    if bad:
        shown = "".join(f"\n  {escape(f'{path}: {reason}')}" for path, reason in bad[:SHOWN])
        more = f"\n  … and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        print(
            f"{plan.train.name}: {len(bad)} training {plan.train.kind} that this seed did not draw "
            f"cannot be read; another seed may draw them:{shown}{more}"
        )


def _refuse_broken(dataset: Dataset, examples: Sequence[Example]) -> None:
    bad = _broken(dataset, examples)
    if not bad:
        return
    if not any(os.path.exists(path) for path, _ in bad):
        readers.check_files(dataset, examples)  # reports an incomplete download in one message
    raise readers.unreadable(dataset, examples, bad)


def _broken(dataset: Dataset, examples: Sequence[Example]) -> list[tuple[str, str]]:
    """Returns (path, reason) of images with a broken file or header; may show a progress bar."""
    total = len({example.image for example in examples})
    if total < MANY:
        return readers.find_bad(dataset, examples, decode=False)
    done = itertools.count(1)
    with progress.bar(f"checking the {dataset.kind} of {dataset.name}", total) as advance:
        return readers.find_bad(dataset, examples, lambda: advance(next(done), ""), decode=False)


def _without_bad(plan: Plan) -> Plan:
    """Returns the plan with unreadable images listed in `bad` and unreadable shots replaced."""
    train = plan.train
    bad: dict[str, str] = {}
    examples = (*train.train, *train.val)
    while found := readers.find_bad(train, examples):
        bad |= dict(found)
        shots = _redrawn(plan, bad)
        known = {*examples, *train.train, *train.val}
        examples = tuple(one for one in (*shots.train, *shots.val) if one not in known)
    shots, tests = _redrawn(plan, bad), {}
    listed = [*plan.bad, *bad.items()]
    for key, dataset in plan.tests.items():
        test, bad_test = readers.drop_bad(dataset, dataset.test)
        tests[key] = dataclasses.replace(dataset, test=test)
        listed += bad_test
    return _with_shots(dataclasses.replace(plan, tests=tests, bad=tuple(listed)), shots)


def _redrawn(plan: Plan, paths: Collection[str]) -> Dataset:
    """Returns the training data with the images at `paths` replaced by other images."""
    train, whole = plan.train, plan.drawn_from
    if whole is None:
        keep = functools.partial(readers.exclude, train, paths=paths)
        return dataclasses.replace(train, train=keep(train.train), val=keep(train.val))

    def is_bad(example: Example) -> bool:
        return not readers.exclude(train, [example], paths)

    replaced = functools.partial(sampling.replace_bad, is_bad=is_bad, seed=plan.seed)
    return dataclasses.replace(
        train, train=replaced(train.train, whole.train), val=replaced(train.val, whole.val)
    )


def _with_shots(plan: Plan, shots: Dataset) -> Plan:
    before = {*plan.train.train, *plan.train.val}
    new = dict.fromkeys(one.image for one in (*shots.train, *shots.val) if one not in before)
    undrawn = tuple(one for one in plan.undrawn if one.image not in new)
    return dataclasses.replace(plan, train=shots, replacements=tuple(new), undrawn=undrawn)


def without(plan: Plan, bad: Sequence[str], replaces: bool) -> Plan:
    """Returns the plan of a finished run, without the images that the run excluded.

    Args:
        plan: data of the run, with all images.
        bad: excluded images of results.json, "path: reason".
        replaces: whether the run drew replacements; earlier versions did not.
    """
    if not bad:
        return plan
    # Paths and reasons may contain ": ", so the text before each one is a candidate path.
    paths = {line[: found.start()] for line in bad for found in re.finditer(": ", line)}
    tests = {
        key: dataclasses.replace(one, test=readers.exclude(one, one.test, paths))
        for key, one in plan.tests.items()
    }
    drawn_from = plan.drawn_from if replaces else None
    plan = dataclasses.replace(plan, tests=tests, drawn_from=drawn_from)
    return _with_shots(plan, _redrawn(plan, paths))


def _storage(dataset: Dataset):
    return dataset.name, dataset.folder


def refuse_empty(plan: Plan, trains: bool) -> None:
    """Raises a PromptError if a test set, or with `trains` the training set, has no examples."""
    parts = [("training", "", plan.train, plan.train.train)] if trains else []
    parts += [("test", f" ({key})", dataset, dataset.test) for key, dataset in plan.tests.items()]
    for role, key, dataset, left in parts:
        if not left:
            reason = "all of them are unreadable" if plan.bad else "its split is empty"
            raise PromptError(f"{dataset.name} has no {role} {dataset.kind}{key}: {reason}")
