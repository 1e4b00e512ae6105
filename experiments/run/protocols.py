"""What each protocol trains on and tests on, from a config."""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from data_pipelines import datasets, sampling
from data_pipelines.errors import DataError
from data_pipelines.examples import Dataset, Example
from data_pipelines.pictures import readers
from experiments.run import progress
from prompt_jax.errors import PromptError

DATA_OPTIONS = (
    "domain",
    "num_classes",
    "test_per_class",
    "template",
    "split_file",
    "ignore_rotation",
)
# Looking at fewer pictures takes a second or two.
MANY = 5000
SHOWN = 10


class Plan(NamedTuple):
    """A run's data.

    Attributes:
        train: its `train` holds the shots, its `val` the validation pictures, of the classes that
            prompts are trained on.
        tests: by the key that results use, what is tested, on its `test`.
        bad: (path, reason) of pictures that are left out.
    """

    train: Dataset
    tests: Mapping[str, Dataset]
    bad: list[tuple[str, str]]


def base_to_novel(config: ConfigDict, load: Callable[[str], Dataset]) -> Plan:
    """Train on the first half of the classes, test on both halves, each among its own classes."""
    base, new = sampling.base_and_new(_few_shot(config, load))
    return Plan(base, {"base": base, "new": new}, [])


def few_shot(config: ConfigDict, load: Callable[[str], Dataset]) -> Plan:
    """Train and test on all classes."""
    dataset = _few_shot(config, load)
    return Plan(dataset, {"test": dataset}, [])


def transfer(config: ConfigDict, load: Callable[[str], Dataset]) -> Plan:
    """Train on all classes of one data set, test on it and, as it is, on others.

    The source itself is tested only where it has test pictures.
    """
    source = _few_shot(config, load)
    tests = {source_key(config): source} if source.test else {}
    for name in split_names(config.data.names):
        if name not in tests:
            tests[name] = load(name)
    if not tests:
        raise PromptError(
            f"config.protocol={config.protocol} tests on the data sets of config.data.names, which "
            f"is empty, and {source_key(config)} has no test pictures: name some"
        )
    return Plan(source, tests, [])


PROTOCOLS: dict[str, Callable[[ConfigDict, Callable[[str], Dataset]], Plan]] = {
    "base_to_novel": base_to_novel,
    "few_shot": few_shot,
    "cross_dataset": transfer,
    "domain_generalization": transfer,
}
# Those in which config.data.names are targets of one training, not several trainings.
WITH_TARGETS = ("cross_dataset", "domain_generalization")


def _few_shot(config, load):
    return sampling.few_shot(load(source_key(config)), config.data.shots, config.seed)


def split_names(names: str) -> list[str]:
    """The names in "a, b, c"."""
    return [name.strip() for name in names.split(",") if name.strip()]


def source_key(config: ConfigDict) -> str:
    """The data set that a run trains on, "name" or "name:domain"."""
    domain = config.data.domain
    return f"{config.data.name}:{domain}" if domain else config.data.name


def build(config: ConfigDict, image_size: int, uses_validation: bool) -> Plan:
    """The plan of a config: lists alone, no picture is looked at.

    Args:
        config: the experiment.
        image_size: of the backbone; scenes are rendered for it.
        uses_validation: whether the method looks at validation pictures.
    """

    def load(key: str) -> Dataset:
        return datasets.load(key, config.data.root or None, **_options(config, key, image_size))

    plan = PROTOCOLS[config.protocol](config, load)
    _refuse_validation_alone(plan.train)
    if not uses_validation:
        plan = plan._replace(train=dataclasses.replace(plan.train, val=()))
    return plan


def _refuse_validation_alone(dataset: Dataset) -> None:
    """Raises a DataError for a class that is neither trained on nor tested."""
    used_labels = {example.label for example in (*dataset.train, *dataset.test)}
    alone = [repr(e.name) for e in dataset.val if e.label not in used_labels]
    if alone:
        raise DataError(
            f"{dataset.name}: the class {alone[0]} has validation pictures only; give it pictures "
            "to train on or to test, or take it out"
        )


def check_pictures(config: ConfigDict, plan: Plan) -> Plan:
    """Looks at all pictures of the run before its first step, without decoding them.

    Under on_bad_image=skip they are decoded, and the plan comes back without those that cannot be
    read. Of people's own training pictures, the broken ones that the seed did not draw are told.

    Raises:
        DataError: without it, if pictures are missing or cannot be read; it lists them.
    """
    _note_undrawn(config, plan)
    if config.data.on_bad_image == "skip":
        return _without_bad(plan)
    for dataset in {_place(d): d for d in (plan.train, *plan.tests.values())}.values():
        examples = used(plan, dataset)
        gone = set(readers.missing_files(dataset, examples))
        bad = _broken(dataset, examples)
        if len(bad) == len(gone):
            readers.check_files(dataset, examples)
        if bad:
            raise readers.unreadable(dataset, examples, bad)
    return plan


def _note_undrawn(config, plan):
    key = source_key(config)
    own = plan.train.folder is not None and datasets.TABLE[key.split(":")[0]].counts is None
    if not own:
        return
    whole = datasets.load(key, config.data.root or None, **_options(config, key, 0))
    drawn = {example.picture for example in plan.train.train}
    bad = _broken(whole, [example for example in whole.train if example.picture not in drawn])
    if bad:
        shown = "".join(f"\n  {path}: {reason}" for path, reason in bad[:SHOWN])
        more = f"\n  … and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        print(
            f"{key}: {len(bad)} training pictures that this seed did not draw cannot be read; "
            f"another seed may draw them:{shown}{more}"
        )


def _broken(dataset, examples):
    """(path, reason) of pictures whose file or header is broken, with a bar if they are many."""
    total = len({example.picture for example in examples})
    if total < MANY:
        return readers.find_bad(dataset, examples, decode=False)
    done = itertools.count(1)
    with progress.bar(f"looking at the pictures of {dataset.name}", total) as advance:
        return readers.find_bad(dataset, examples, lambda: advance(next(done), ""), decode=False)


def hashes(plan: Plan) -> dict[str, Any]:
    """What tells other data of the same name apart: pictures, labels, classes, templates.

    Returns:
        {"train": short hash of the shots and validation pictures, "tests": {key: short hash},
        "sizes": the same of their files' sizes; None where files are missing, or there are none}.
    """
    train, tests = plan.train, plan.tests
    drawn = (*train.train, *train.val)
    return {
        "train": _hash(train.template, map(tuple, drawn)),
        "tests": {key: _hash(one.template, map(tuple, one.test)) for key, one in tests.items()},
        "sizes": {
            "train": _hash_sizes(train, drawn),
            "tests": {key: _hash_sizes(one, one.test) for key, one in tests.items()},
        },
    }


def _hash(start: str, facts: Iterable[Any]) -> str:
    digest = hashlib.sha256(start.encode())
    for fact in facts:
        digest.update(repr(fact).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _hash_sizes(dataset: Dataset, examples: Iterable[Example]) -> str | None:
    """Other pictures of the same names have other sizes; reading all of them would take long."""
    if dataset.folder is None:
        return None
    try:
        return _hash("", (os.path.getsize(dataset.folder / one.picture) for one in examples))
    except (OSError, ValueError):
        return None


def _options(config: ConfigDict, key: str, image_size: int) -> dict[str, Any]:
    """What config.data says about one data set; of targets, the domain stands in the key."""
    data = config.data
    name = key.split(":")[0]
    options: dict[str, Any] = {"source": data.source}
    if name == data.name:
        options |= {field: data[field] for field in DATA_OPTIONS if data[field]}
        if ":" in key:
            del options["domain"]
    if name == "emoji_scenes":
        # A tower of larger pictures gets scenes that are enlarged: 96 pixels is the largest.
        options["size"] = min(max(image_size, 32), 96)
    return options


def used(plan: Plan, dataset: Dataset) -> list[Example]:
    """All examples of a run that are read from where `dataset` is: base and new halves, e.g."""
    found = [*plan.train.train, *plan.train.val] if _place(plan.train) == _place(dataset) else []
    for tested in plan.tests.values():
        if _place(tested) == _place(dataset):
            found += tested.test
    return found


def _place(dataset):
    return dataset.name, dataset.folder


def _without_bad(plan: Plan) -> Plan:
    """The plan without its unreadable pictures, and a list of those."""
    train, bad_train = readers.drop_bad(plan.train, plan.train.train)
    val, bad_val = readers.drop_bad(plan.train, plan.train.val)
    bad, tests = [*bad_train, *bad_val], {}
    for key, dataset in plan.tests.items():
        test, bad_test = readers.drop_bad(dataset, dataset.test)
        tests[key] = dataclasses.replace(dataset, test=test)
        bad += bad_test
    return Plan(dataclasses.replace(plan.train, train=train, val=val), tests, bad)


def refuse_empty(plan: Plan, trains: bool) -> None:
    """Raises a PromptError if there is nothing to train on, where something trains, or to test."""
    lists = {"training pictures": plan.train.train} if trains else {}
    lists |= {f"test pictures ({key})": dataset.test for key, dataset in plan.tests.items()}
    for kind, left in lists.items():
        if not left:
            reason = "all of them are unreadable" if plan.bad else "its split lists none"
            raise PromptError(f"{plan.train.name} has no {kind}: {reason}")
