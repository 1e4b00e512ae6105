"""Decides which finished runs may share an average, and labels what distinguishes the others."""

import dataclasses
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.config.config import FIELDS
from experiments.record.identity import ADDED
from experiments.record.runs import Run
from prompt_jax import methods
from prompt_jax.inputs.videos.sampling import for_tests

# How test data is prepared and computed: the results of every method depend on it.
TEST_FIELDS = [name for name, field in FIELDS.items() if field.affects == "tests"]
PREPARED = "preprocessing."  # fields of a run that say the rest of it
_FILES = "contents of "
_TRAINING = {name for name, field in FIELDS.items() if field.affects == "training"}


def data_preparation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how a run prepared its test data: known `TEST_FIELDS`, and its preprocessing.

    Args:
        config: of a `Run`.
    """
    found = {name: config.get(name, ADDED.get(name)) for name in TEST_FIELDS}
    if found["data.frames"] is not None:
        found["data.frames"] = found["data.test_frames"] or found["data.frames"]
    del found["data.test_frames"]
    if found["data.frame_rule"] is not None:
        found["data.frame_rule"] = for_tests(found["data.frame_rule"])
    prepared = {name: value for name, value in config.items() if name.startswith(PREPARED)}
    return {name: value for name, value in found.items() if value is not None} | prepared


def with_zero_shot(runs: Sequence[Run]) -> list[Run]:
    """Adds zero-shot CLIP as the runs measured it, where it has no run of its own.

    A run of zero-shot CLIP with its default settings counts for all runs with the same test data
    and the same preparation.
    """

    def cell(run: Run) -> tuple:
        source = run.trained_by, run.dataset, run.shots
        return run.protocol, run.ablation, run.backbone_hash, *source

    def reduced(run: Run) -> dict[str, Any]:
        data = {key: value for key, value in run.config.items() if key.startswith("data.")}
        kept = {key: value for key, value in data.items() if key not in _TRAINING}
        own = _own_settings(run.config) if run.method == "zero_shot" else {}
        return kept | own | data_preparation(run.config)

    def has_own(run: Run) -> bool:
        return any(
            all(run.hashes.get(key, one) == one for key, one in other.hashes.items())
            and _agree(data_preparation(run.config), data_preparation(other.config))
            and not _own_settings(other.config)
            for other in own.get(cell(run), ())
        )

    own: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        if run.method == "zero_shot":
            own[cell(run)].append(run)
    found = []
    for run in runs:
        if run.method == "zero_shot":
            found.append(replace(run, config=reduced(run), variant="", training={}, drawn={}))
            continue
        found.append(run)
        if run.zero_shot and not has_own(run):
            found.append(
                replace(
                    run,
                    method="zero_shot",
                    variant="",
                    accuracy=run.zero_shot,
                    ranks=run.zero_shot_ranks,
                    rank_intervals=run.zero_shot_rank_intervals,
                    trainable=0,
                    train_seconds=0.0,
                    per_iteration={},
                    top5=run.zero_shot_top5,
                    calibration=run.zero_shot_calibration,
                    macro=run.zero_shot_macro,
                    confusions={},
                    chosen={},
                    training={},
                    drawn={},
                    config=reduced(run),
                )
            )
    return found


def _own_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings of a run of zero-shot CLIP that are not its defaults."""
    usual = {
        f"settings.{name}": value
        for table in (methods.METHODS, methods.ENCODERS)
        for name, value in dataclasses.asdict(table["zero_shot"].Settings()).items()
    }
    return {
        name: value
        for name, value in config.items()
        if name.startswith("settings.") and value != usual.get(name, value)
    }


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tells whether two preparations agree, as far as both are recorded."""
    prepared = {name for name in (*one, *other) if name.startswith(PREPARED)}
    both = (one.keys() & other.keys()) | prepared
    return all(one.get(name) == other.get(name) for name in both)


def label_differences(runs: Sequence[Run]) -> list[str]:
    """Returns for each run of a table what distinguishes it from others: config or data.

    - Configs are compared within a method and variant and, in few-shot learning, within a number of
      shots, as published recipes train longer on more shots.
    - The preparation of test data, see `data_preparation`, is compared over all methods.
    - Versions of a data set are compared over all methods, if their configs do not differ.
    - Test sets are compared by their hash, as two lists can have the same name and length; and
      lists of one hash by the contents of their files.
    - Training sets are compared as versions of a data set, but over all numbers of shots, by the
      list that is drawn from; and equal lists by the contents of their files.
    """

    def peers(run: Run) -> Hashable:
        shots = run.shots if run.protocol == "few_shot" else 0
        return run.method, run.variant, shots

    def same_data(run: Run) -> Hashable:
        settings = {key: value for key, value in run.config.items() if key.startswith("data.")}
        return run.dataset, run.shots, json.dumps(settings, sort_keys=True)

    def same_list(run: Run) -> Hashable:
        names = ("data.", "trained data.")
        settings = {key: value for key, value in run.config.items() if key.startswith(names)}
        return run.dataset, json.dumps(settings, sort_keys=True)

    def same_files(run: Run) -> Hashable:
        return same_list(run), run.training.get("training list")

    def same_tests(run: Run) -> Hashable:
        return run.dataset, json.dumps(tests(run), sort_keys=True)

    def tests(run: Run) -> dict[str, str]:
        return {key: one for key, one in run.hashes.items() if not key.startswith(_FILES)}

    def tested_files(run: Run) -> dict[str, str]:
        return {key: one for key, one in run.hashes.items() if key.startswith(_FILES)}

    def part(ending: str) -> Callable[[Run], Mapping[str, Any]]:
        return lambda run: {key: one for key, one in run.training.items() if key.endswith(ending)}

    by_config = _differences(runs, peers, lambda run: run.config, absent_differs=True)
    by_preparation = _differences(
        runs, lambda run: None, lambda run: data_preparation(run.config), False
    )
    by_data = _differences(runs, same_data, lambda run: run.data, absent_differs=False)
    by_hash = _differences(runs, lambda run: run.dataset, tests, False)
    by_tested = _differences(runs, same_tests, tested_files, False)
    by_list = _differences(runs, same_list, part("list"), False)
    by_files = _differences(runs, same_files, part("contents"), False)
    labels = zip(
        by_config, by_preparation, by_data, by_hash, by_tested, by_list, by_files, strict=True
    )
    return [", ".join(dict.fromkeys(itertools.chain(*each))) for each in labels]


def _differences(
    runs: Sequence[Run],
    peers: Callable[[Run], Hashable],
    facts: Callable[[Run], Mapping[str, Any]],
    absent_differs: bool,
) -> list[list[str]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, run in enumerate(runs):
        groups[peers(run)].append(index)
    labels: list[list[str]] = [[] for _ in runs]
    for members in groups.values():
        for key in sorted({key for index in members for key in facts(runs[index])}):
            differs = absent_differs or key.startswith(PREPARED)
            having = [index for index in members if differs or key in facts(runs[index])]
            absent = "usual" if key.startswith(PREPARED) else ADDED.get(key)
            values = {index: json.dumps(facts(runs[index]).get(key, absent)) for index in having}
            if len(set(values.values())) > 1:
                for index, value in values.items():
                    labels[index].append(f"{key}={value.strip(chr(34))}")
    return labels
