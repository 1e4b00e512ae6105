"""The figures that ViLT-CLIP's paper prints (Wang et al., AAAI 2024), beside measured ones.

Accuracy in %, ViT-B/16 with OpenAI's weights. ViFi-CLIP's prompting of both towers is left out: its
figures start from a CLIP that was fine-tuned on Kinetics-400. So is A6, which the paper does not
describe.
"""

from collections.abc import Mapping
from typing import Any

from data_pipelines.datasets import split_domain
from experiments.figures.papers.published import Published
from experiments.record.runs import SUPERVISED, TRANSFER

PAPER = "ViLT-CLIP (AAAI 2024)"
VIFI = "ViFi-CLIP (CVPR 2023)"
HMDB, UCF, SSV2, KINETICS = "hmdb51", "ucf101_clips", "ssv2", "kinetics400"
DATASETS = (HMDB, UCF, SSV2, KINETICS, "kinetics600")

# Order of the paper's tables. On videos zero-shot CLIP has a name of its own, too.
METHODS = (
    "clip_video",
    "a5",
    "vifi_clip",
    "vifi_vl_prompting",
    "vilt_independent",
    "vilt_multimodal",
    "vilt_clip",
)
_CLIP = "clip_video"
_SAME = {"zero_shot": _CLIP}

# Table 1: top-1 by the number of shots.
SHOTS = (2, 4, 8, 16)
FEW_SHOT: dict[str, dict[str, tuple[float, ...]]] = {
    _CLIP: {HMDB: (41.9,) * 4, UCF: (63.6,) * 4, SSV2: (2.7,) * 4},
    "a5": {
        HMDB: (39.7, 50.7, 56.0, 62.4),
        UCF: (71.4, 79.9, 85.7, 89.9),
        SSV2: (4.4, 5.1, 6.1, 9.7),
    },
    "vifi_clip": {
        HMDB: (57.2, 62.7, 64.5, 66.8),
        UCF: (80.7, 85.1, 90.0, 92.7),
        SSV2: (6.2, 7.4, 8.5, 12.4),
    },
    "vilt_independent": {
        HMDB: (57.8, 60.0, 64.8, 67.4),
        UCF: (84.0, 87.1, 90.4, 93.1),
        SSV2: (7.3, 8.1, 9.8, 13.0),
    },
    "vilt_multimodal": {
        HMDB: (58.8, 61.6, 66.2, 68.0),
        UCF: (85.2, 87.9, 91.0, 93.8),
        SSV2: (7.7, 9.2, 10.2, 13.0),
    },
    "vilt_clip": {
        HMDB: (60.6, 61.9, 66.9, 69.6),
        UCF: (85.3, 90.0, 91.3, 93.8),
        SSV2: (7.8, 9.4, 10.3, 13.2),
    },
}

# Table 4: base, novel and their harmonic mean. That of vilt_multimodal on UCF-101 would be 79.7.
BASE_TO_NOVEL: dict[str, dict[str, tuple[float, float, float]]] = {
    _CLIP: {
        HMDB: (53.3, 46.8, 49.8),
        UCF: (78.5, 63.6, 70.3),
        SSV2: (4.9, 5.3, 5.1),
        KINETICS: (62.3, 53.4, 57.5),
    },
    "a5": {
        HMDB: (46.2, 16.0, 23.8),
        UCF: (90.5, 40.4, 55.8),
        SSV2: (8.3, 5.3, 6.4),
        KINETICS: (69.7, 37.6, 48.8),
    },
    "vifi_clip": {
        HMDB: (73.8, 53.3, 61.9),
        UCF: (92.9, 67.7, 78.3),
        SSV2: (16.2, 12.1, 13.9),
        KINETICS: (76.4, 61.1, 67.9),
    },
    "vilt_independent": {
        HMDB: (75.1, 55.8, 64.1),
        UCF: (95.3, 67.8, 79.3),
        SSV2: (16.5, 12.4, 14.1),
        KINETICS: (77.2, 61.0, 68.2),
    },
    "vilt_multimodal": {
        HMDB: (75.8, 57.2, 65.2),
        UCF: (95.6, 68.4, 80.2),
        SSV2: (17.3, 12.6, 14.6),
        KINETICS: (77.8, 61.4, 68.6),
    },
    "vilt_clip": {
        HMDB: (76.7, 57.5, 65.7),
        UCF: (95.2, 70.5, 81.0),
        SSV2: (17.3, 12.8, 14.7),
        KINETICS: (77.4, 63.0, 69.5),
    },
}

# Trained on Kinetics-400, tested on others: the mean over three splits, and its spread.
TABLE_3 = f"{PAPER}, Table 3"
ZERO_SHOT: dict[str, dict[str, Published]] = {
    _CLIP: {
        HMDB: Published(40.8, f"{TABLE_3}, ± 0.3"),
        UCF: Published(63.2, f"{TABLE_3}, ± 0.2"),
    },
    "a5": {HMDB: Published(44.3, f"{TABLE_3}, ± 2.2"), UCF: Published(69.3, f"{TABLE_3}, ± 4.2")},
    "vifi_clip": {HMDB: Published(51.3, VIFI), UCF: Published(76.8, VIFI)},
    "vilt_clip": {
        HMDB: Published(45.3, f"{TABLE_3}, ± 0.9"),
        UCF: Published(73.6, f"{TABLE_3}, ± 1.1"),
    },
}

# Kinetics-400, trained on all of it: top-1, and top-5 where it is printed.
TABLE_6 = f"{PAPER}, Table 6"
KINETICS_400: dict[str, tuple[tuple[float, ...], str]] = {
    _CLIP: ((40.10,), TABLE_6),
    "vifi_clip": ((83.9, 96.3), VIFI),
    "vilt_independent": ((75.83,), TABLE_6),
    "vilt_multimodal": ((76.46,), TABLE_6),
    "vilt_clip": ((77.6, 94.5), f"{PAPER}, Table 2"),
}

# Tables 5 and 7: captions for videos, R@1, R@5 and mean rank. Table 8 has 71.4 for the 72.1.
RETRIEVAL_SOURCE = f"{PAPER}, Tables 5 and 7"
RETRIEVAL_METRICS = ("R@1", "R@5", "MnR")
RETRIEVAL: dict[str, dict[str, tuple[float, ...]]] = {
    _CLIP: {"msrvtt_9k": (31.2, 53.7, 22.3)},
    "a5": {"msrvtt_9k": (36.7, 64.6)},
    "vilt_independent": {
        "msrvtt_9k": (44.3, 69.6, 18.4),
        "msvd": (46.4, 76.3, 9.8),
        "lsmdc": (17.6, 36.7, 69.1),
        "didemo": (38.8, 65.8, 16.7),
    },
    "vilt_multimodal": {
        "msrvtt_9k": (44.8, 72.1, 13.6),
        "msvd": (47.3, 76.8, 9.8),
        "lsmdc": (18.3, 37.1, 66.5),
        "didemo": (39.7, 66.5, 15.3),
    },
}
RETRIEVAL["vilt_clip"] = RETRIEVAL["vilt_multimodal"]

# Settings behind the figures, as far as they are printed: of a field, the values that amount to it.
_FRAMES = {"few_shot": 32, "base_to_novel": 32, SUPERVISED: 16, TRANSFER: 32}
Wanted = dict[str, tuple[Any, ...]]


def _independent(prompts: int, depth: int) -> Wanted:
    fields = {"text_prompts": prompts, "vision_prompts": prompts}
    fields |= {"text_depth": depth, "vision_depth": depth}
    return {field: (value,) for field, value in fields.items()}


def _coupled(prompts: int, depth: int) -> Wanted:
    # 0 is half of the backbone's layers.
    return {"prompts": (prompts,), "depth": (depth,), "coupling_layer": (0, 6)}


def _wanted(protocol: str, method: str) -> Wanted:
    """What a config's fields must hold, as far as a paper says so."""
    size = {"base_to_novel": (16, 10), "retrieval": (6, 12)}.get(protocol, (10, 12))
    settings: Wanted = {"use": ("both",)} if method == "vifi_clip" else {}
    if method == "vilt_independent":
        settings = _independent(*size)
    elif method in ("vilt_multimodal", "vilt_clip"):
        settings = _coupled(*size)
    wanted: Wanted = {f"settings.{field}": values for field, values in settings.items()}
    if protocol in _FRAMES:
        wanted["data.frames"] = (_FRAMES[protocol],)
    return wanted


def find(
    protocol: str, source: str, method: str, dataset: str, column: str, top5: bool = False
) -> Published | None:
    """What a paper prints for one cell of a table, whatever backbone and settings it is beside.

    Args:
        protocol: "few_shot", "base_to_novel", `SUPERVISED` or `TRANSFER`.
        source: what was trained on, where it is another data set than that which is tested.
        method: a name from the table of methods.
        dataset: a data set's name, or "name:part"; of `TRANSFER` without a part, the mean over its
            splits.
        column: a number of shots; "base", "new" or "h"; else "accuracy".
        top5: whether the right class may be among the first five.
    """
    method, name = _SAME.get(method, method), split_domain(dataset)[0]
    if protocol == SUPERVISED and name == KINETICS and method in KINETICS_400:
        values, where = KINETICS_400[method]
        return Published(values[top5], where) if top5 < len(values) else None
    if top5:
        return None
    if protocol == "few_shot" and column in map(str, SHOTS):
        if scores := FEW_SHOT.get(method, {}).get(name):
            return Published(scores[SHOTS.index(int(column))], f"{PAPER}, Table 1")
    elif protocol == "base_to_novel":
        if halves := BASE_TO_NOVEL.get(method, {}).get(name):
            place = ("base", "new", "h").index(column)
            return Published(halves[place], f"{PAPER}, Table 4")
    elif protocol == TRANSFER and split_domain(source)[0] == KINETICS and name == dataset:
        return ZERO_SHOT.get(method, {}).get(name)
    return None


def ranks(method: str, dataset: str) -> dict[str, float]:
    """What a paper prints of captions that search videos: metric to figure; empty for nothing."""
    values = RETRIEVAL.get(_SAME.get(method, method), {}).get(dataset, ())
    return dict(zip(RETRIEVAL_METRICS, values, strict=False))


def departure(protocol: str, method: str, config: Mapping[str, Any]) -> str:
    """How a run's settings differ from those of published figures, "" if they are not known to.

    Args:
        protocol: of the run.
        method: of the run.
        config: flat names to values; a field that it lacks is not known.

    Returns:
        e.g. "data.frames=4, not 32".
    """
    return ", ".join(
        f"{field}={config[field]}, not {values[-1]}"
        for field, values in _wanted(protocol, method).items()
        if field in config and config[field] not in values
    )
