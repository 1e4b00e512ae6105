"""Finds figures of action recognition published by ViLT-CLIP (Wang et al., AAAI 2024).

They are in the methods' records. Accuracy in %, ViT-B/16 with OpenAI's weights. ViFi-CLIP's
prompting of both towers is excluded, because it starts from a CLIP that was fine-tuned on
Kinetics-400. So is A6, which the paper does not describe.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from data_pipelines.datasets import split_domain
from experiments.figures.papers.published import HALVES, Published, rows
from experiments.record.runs import SUPERVISED, TRANSFER
from prompt_jax import methods

KINETICS = "kinetics400"
DATASETS = ("hmdb51", "ucf101_clips", "ssv2", KINETICS, "kinetics600")
SHOTS = (2, 4, 8, 16)
METHODS = tuple(methods.ENCODERS)

# Published settings by field: all values with the same effect.
_FRAMES = {"few_shot": 32, "base_to_novel": 32, SUPERVISED: 16, TRANSFER: 32}
Wanted = dict[str, tuple[Any, ...]]
_PRINTED = (
    *("use", "text_prompts", "vision_prompts", "text_depth", "vision_depth"),
    *("prompts", "depth", "coupling_layer"),
)


def _wanted(protocol: str, method: str) -> Wanted:
    """Returns the published values of config fields."""
    wanted: Wanted = {}
    record = methods.RECORDS["videos"].get(method)
    if record and (recipe := record.recipe(protocol)):
        settings = dataclasses.asdict(record.method.Settings(**recipe.settings))
        wanted = {f"settings.{name}": (settings[name],) for name in _PRINTED if name in settings}
    if "settings.coupling_layer" in wanted:
        wanted["settings.coupling_layer"] = (0, 6)  # 0 is half of the backbone's layers
    if protocol in _FRAMES:
        wanted["data.frames"] = (_FRAMES[protocol],)
    return wanted


def find(
    protocol: str, source: str, method: str, dataset: str, column: str, top5: bool = False
) -> Published | None:
    """Returns the published figure for one cell, for any backbone and settings; None if none.

    Args:
        protocol: "few_shot", "base_to_novel", `SUPERVISED` or `TRANSFER`.
        source: the training data set if it differs from the test set.
        method: a name from the table of methods.
        dataset: a data set's name, or "name:part"; in `TRANSFER`, a name without a part is the mean
            over its splits.
        column: a number of shots; "base", "new" or "h"; otherwise "accuracy".
        top5: whether to return the top-5 accuracy.
    """
    name = split_domain(dataset)[0]
    if protocol == TRANSFER and (split_domain(source)[0] != KINETICS or name != dataset):
        return None
    places = {"few_shot": [str(shots) for shots in SHOTS], "base_to_novel": list(HALVES)}
    known = places.get(protocol, ["accuracy"])
    if column not in known or (top5 and protocol != SUPERVISED):
        return None
    place = int(top5) if protocol == SUPERVISED else known.index(column)
    for row in rows("videos", method, protocol):
        figures = row.figures.get(name, ())
        if place < len(figures) and (value := figures[place]) is not None:
            return Published(value, row.source)
    return None


def settings_difference(protocol: str, method: str, config: Mapping[str, Any]) -> str:
    """Returns how a run's settings differ from the published ones; "" if no difference is known.

    Args:
        protocol: of the run.
        method: of the run.
        config: values by flat field name; missing fields are ignored.

    Returns:
        e.g. "data.frames=4, not 32".
    """
    return ", ".join(
        f"{field}={config[field]}, not {values[-1]}"
        for field, values in _wanted(protocol, method).items()
        if field in config and config[field] not in values
    )
