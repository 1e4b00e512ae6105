"""What each protocol trains on and tests on.

A new protocol is a function and a line of the table here, and a name in record/runs.py, by which
its results are read again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ml_collections import ConfigDict

from data_pipelines import sampling
from data_pipelines.examples import Dataset
from prompt_jax.errors import PromptError

Load = Callable[[str], Dataset]
"""A data set whole, by "name" or "name:domain"."""
Parts = tuple[Dataset, dict[str, Dataset]]
"""What is trained on, its `train` and `val` drawn; and by the key that results use, what is tested,
on its `test`."""


def base_to_novel(config: ConfigDict, load: Load) -> Parts:
    """Train on the first half of the classes, test on both halves, each among its own classes."""
    base, new = sampling.base_and_new(_few_shot(config, load))
    return base, {"base": base, "new": new}


def few_shot(config: ConfigDict, load: Load) -> Parts:
    """Train and test on all classes."""
    dataset = _few_shot(config, load)
    return dataset, {"test": dataset}


def transfer(config: ConfigDict, load: Load) -> Parts:
    """Train on all classes of one data set, test on it and, as it is, on others.

    The source itself is tested only where it has test pictures.
    """
    source = _few_shot(config, load)
    tests = {source.name: source} if source.test else {}
    for name in split_names(config.data.names):
        if name not in tests:
            tests[name] = load(name)
    if not tests:
        raise PromptError(
            f"config.protocol={config.protocol} tests on the data sets of config.data.names, which "
            f"is empty, and {source.name} has no test pictures: name some"
        )
    return source, tests


def retrieval(config: ConfigDict, load: Load) -> Parts:
    """Train on all clips and captions of a data set, test on its test clips and on others'."""
    source = load(source_key(config))
    others = [name for name in split_names(config.data.also_test) if name != source.name]
    tests = {"test": source} | {name: load(name) for name in others}
    for dataset in tests.values():
        _refuse_without_captions(dataset)
    return source, tests


@dataclass(frozen=True)
class Protocol:
    """What a run is for.

    Attributes:
        parts: what it trains on and tests.
        by_captions: whether captions of clips are told apart, and no classes.
    """

    parts: Callable[[ConfigDict, Load], Parts]
    by_captions: bool = False


PROTOCOLS = {
    "base_to_novel": Protocol(base_to_novel),
    "few_shot": Protocol(few_shot),
    "cross_dataset": Protocol(transfer),
    "domain_generalization": Protocol(transfer),
    "retrieval": Protocol(retrieval, by_captions=True),
}


def by_captions(config: ConfigDict) -> bool:
    """Whether a config's protocol tells captions apart."""
    return PROTOCOLS[config.protocol].by_captions


def _refuse_without_captions(dataset):
    """Raises a PromptError for what cannot be searched by text."""
    if dataset.kind != "clips":
        raise PromptError(
            f"config.protocol=retrieval searches clips, and {dataset.name} holds pictures; use a "
            "data set of clips, e.g. emoji_clips, or a config of experiments/configs/images"
        )
    if lacking := next((one for one in (*dataset.train, *dataset.test) if not one.captions), None):
        raise PromptError(
            f"config.protocol=retrieval needs captions, and {lacking.picture} of {dataset.name} "
            "has none"
        )


def _few_shot(config, load):
    return sampling.few_shot(load(source_key(config)), config.data.shots, config.seed)


def split_names(names: str) -> list[str]:
    """The names in "a, b, c"."""
    return [name.strip() for name in names.split(",") if name.strip()]


def source_key(config: ConfigDict) -> str:
    """The data set that a run trains on, "name" or "name:domain"."""
    domain = config.data.domain
    return f"{config.data.name}:{domain}" if domain else config.data.name
