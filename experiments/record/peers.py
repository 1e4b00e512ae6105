"""Which finished runs may share an average, and what sets those apart that may not."""

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.record.runs import Run

# Of a config, what zero-shot CLIP depends on.
_ZERO_SHOT = ("data.", "dtype", "precision", "activation")


def with_zero_shot(runs: Sequence[Run]) -> list[Run]:
    """The runs, and zero-shot CLIP as they measured it where it has no run of its own."""

    def cell(run: Run) -> tuple:
        source = run.trained_by, run.dataset, run.shots
        return run.protocol, run.ablation, run.backbone_hash, *source

    def reduced(run: Run) -> dict[str, Any]:
        return {key: value for key, value in run.config.items() if key.startswith(_ZERO_SHOT)}

    def has_own(run: Run) -> bool:
        others = own.get(cell(run), ())
        return any(
            all(run.hashes.get(key, one) == one for key, one in other.hashes.items())
            for other in others
        )

    own: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        if run.method == "zero_shot":
            own[cell(run)].append(run)
    found = []
    for run in runs:
        if run.method == "zero_shot":
            found.append(replace(run, config=reduced(run), variant=""))
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
                    confusions={},
                    chosen={},
                    config=reduced(run),
                )
            )
    return found


def label_differences(runs: Sequence[Run]) -> list[str]:
    """For each run of one table, what sets it apart from others of its row: config or data.

    Configs are compared within a method and variant, and, in few-shot learning, within a number
    of shots, because published recipes train longer on more shots. Versions of a data set are
    compared over all methods, where the config does not tell them apart already; what is tested,
    by its hash, always, because two lists of pictures can have one name and equally many pictures.
    """

    def peers(run: Run) -> Hashable:
        shots = run.shots if run.protocol == "few_shot" else 0
        return run.method, run.variant, shots

    def same_data(run: Run) -> Hashable:
        settings = {key: value for key, value in run.config.items() if key.startswith("data.")}
        return run.dataset, run.shots, json.dumps(settings, sort_keys=True)

    by_config = _differences(runs, peers, lambda run: run.config, absent_differs=True)
    by_data = _differences(runs, same_data, lambda run: run.data, absent_differs=False)
    by_hash = _differences(runs, lambda run: run.dataset, lambda run: run.hashes, False)
    labels = zip(by_config, by_data, by_hash, strict=True)
    return [", ".join(config + data + hashed) for config, data, hashed in labels]


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
            having = [index for index in members if absent_differs or key in facts(runs[index])]
            values = {index: json.dumps(facts(runs[index]).get(key)) for index in having}
            if len(set(values.values())) > 1:
                for index, value in values.items():
                    labels[index].append(f"{key}={value.strip(chr(34))}")
    return labels
