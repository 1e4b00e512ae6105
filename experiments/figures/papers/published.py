"""The figures that papers print, to be put beside measured ones.

Accuracy in %, ViT-B/16, 16 shots. Averages are those of the papers, not recomputed: they
were taken before rounding.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from data_pipelines import datasets

BACKBONE, SHOTS = "ViT-B/16 with OpenAI's weights", 16
# What `config.backbone` says for it; whether a file or folder holds it, nobody but its owner knows.
BACKBONE_NAMES = ("ViT-B/16", "openai/clip-vit-base-patch16")
PROMPT = "ProMPT (ICMR 2024)"

# Order of the papers' tables.
METHODS = ("zero_shot", "coop", "cocoop", "kgcoop", "vpt", "maple", "gda", "promptsrc", "pro_mpt")
TARGETS = (
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "flowers102",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
)
SHIFTED = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")

# The data sets that a published average is taken over.
AVERAGED = {
    "base_to_novel": ("imagenet", *TARGETS),
    "cross_dataset": TARGETS,
    "domain_generalization": SHIFTED,
}

Scores = tuple[float, float, float]  # base, new, H


class Published(NamedTuple):
    """A printed figure, in percent, and where it stands."""

    value: float
    source: str


# Averages over the 11 data sets. ProMPT's Table 1 is an image; its averages are in the text.
# GDA's H is not that of its base and new averages, 78.96: it looks like a mean over data sets.
BASE_TO_NOVEL: dict[str, tuple[Scores, str]] = {
    "zero_shot": ((69.34, 74.22, 71.70), f"{PROMPT}, Table 1"),
    "coop": ((82.69, 63.22, 71.66), f"{PROMPT}, Table 1"),
    "cocoop": ((80.47, 71.69, 75.83), f"{PROMPT}, Table 1"),
    "kgcoop": ((80.73, 73.60, 77.00), "KgCoOp (CVPR 2023)"),
    "vpt": ((80.24, 73.43, 76.68), "VPT-deep as later papers quote it"),
    "maple": ((82.28, 75.14, 78.55), "MaPLe (CVPR 2023)"),
    "gda": ((83.96, 74.53, 78.72), "GDA (ICLR 2024), H by another convention"),
    "promptsrc": ((84.26, 76.10, 79.97), "PromptSRC (ICCV 2023)"),
    "pro_mpt": ((80.94, 74.89, 77.80), f"{PROMPT}, Table 1"),
}

# Table 4, by the number of iterations N. N = 0 is zero-shot CLIP, yet its average on new classes
# is 74.77 here and 74.22 in Tables 1 and 5 ("-Iter"); the paper does not say why, so both stand.
ITERATIONS: dict[int, dict[str, Scores]] = {
    0: {
        "average": (69.34, 74.77, 71.95),
        "imagenet": (72.43, 68.14, 70.22),
        "oxford_pets": (91.17, 97.26, 94.12),
        "food101": (90.10, 91.22, 90.66),
        "fgvc_aircraft": (27.19, 36.29, 31.09),
        "eurosat": (56.48, 64.05, 60.03),
    },
    1: {
        "average": (79.69, 74.01, 76.74),
        "imagenet": (76.17, 70.50, 73.22),
        "oxford_pets": (94.60, 97.53, 96.04),
        "food101": (90.70, 91.83, 91.26),
        "fgvc_aircraft": (30.50, 24.87, 27.40),
        "eurosat": (88.57, 78.67, 83.32),
    },
    2: {
        "average": (80.94, 74.89, 77.80),
        "imagenet": (76.03, 70.37, 73.09),
        "oxford_pets": (95.20, 97.80, 96.48),
        "food101": (90.93, 91.80, 91.36),
        "fgvc_aircraft": (35.33, 33.83, 34.57),
        "eurosat": (92.47, 76.03, 83.45),
    },
}

# Table 5, averages over the 11 data sets; "-" is the part left out.
COMPONENTS: dict[str, Scores] = {
    "": (80.94, 74.89, 77.80),
    "-Iter": (69.34, 74.22, 71.70),
    "-G^V": (80.47, 73.12, 76.62),
    "-G^T": (79.20, 70.68, 74.70),
    "-G": (78.92, 70.93, 74.71),
    "-F": (78.70, 72.52, 75.48),
}

# Figure 8 is an image: of its curves only the setting that the paper keeps is known, section 4.1.
KEPT_SETTING = {"vision_prompts": 8, "context_length": 5, "vision_depth": 9, "loss_decay": 1.0}


def _row(names: Iterable[str], *values: float) -> dict[str, float]:
    return dict(zip(names, values, strict=True))


# Table 2: the source, the ten targets, and the average of the targets.
_CROSS = ("imagenet", *TARGETS, "average")
CROSS_DATASET: dict[str, dict[str, float]] = {
    "coop": _row(
        _CROSS, 71.51, 93.70, 89.14, 64.51, 68.71, 85.30, 18.47, 64.15, 41.92, 46.39, 66.55, 63.88
    ),
    "cocoop": _row(
        _CROSS, 71.02, 94.43, 90.14, 65.32, 71.88, 86.06, 22.94, 67.36, 45.73, 45.37, 68.21, 65.74
    ),
    "pro_mpt": _row(
        _CROSS, 70.47, 93.73, 90.20, 65.83, 71.20, 86.30, 24.57, 67.33, 44.27, 51.13, 67.93, 66.25
    ),
}

# Table 3: the source, the four shifted data sets, and their average.
_SHIFT = ("imagenet", *SHIFTED, "average")
DOMAIN_GENERALIZATION: dict[str, dict[str, float]] = {
    "zero_shot": _row(_SHIFT, 66.73, 60.83, 46.15, 47.77, 73.96, 57.18),
    "coop": _row(_SHIFT, 71.51, 64.20, 47.99, 49.71, 75.21, 59.28),
    "cocoop": _row(_SHIFT, 71.02, 64.07, 48.75, 50.63, 76.18, 59.91),
    "pro_mpt": _row(_SHIFT, 70.47, 63.97, 48.90, 50.97, 77.17, 60.25),
}


def departure(name: str, classes: int | None, images: int | None, split_source: str) -> str:
    """How what was tested of a data set differs from what published figures are on.

    Args:
        name: the data set.
        classes: how many were tested, base and new together; None if unknown.
        images: how many were tested; None if unknown.
        split_source: where the split came from, in words.

    Returns:
        e.g. "dtd: 10 of 47 classes, 240 of 1,692 test images"; "" if nothing is known to differ.
    """
    key, part = datasets.split_domain(name)
    entry = datasets.TABLE.get(key)
    if entry is None or entry.counts is None:
        return ""
    # Of several splits the table counts the first.
    number = None if part in ("val2", "val3") else entry.counts[2]
    counted = (
        (classes, entry.num_classes, "classes"),
        (images, number, "test images"),
    )
    parts = [
        f"{here:,} of {there:,} {what}" if here < there else f"{here:,} {what}, not {there:,}"
        for here, there, what in counted
        if here is not None and there is not None and here != there
    ]
    # The benchmark takes ImageNet and its variants in their official splits, as TFDS does.
    if split_source.startswith("TFDS") and name not in ("imagenet", *SHIFTED):
        parts.append(f"TFDS's own splits, not the benchmark's ({split_source})")
    return f"{name}: {', '.join(parts)}" if parts else ""


def number(variant: str) -> float | None:
    """The value in a label such as "N=1" or "lambda=0.5"; None where there is none."""
    match = re.fullmatch(r"[^=]+=\s*(-?\d+(?:\.\d+)?)", variant.strip())
    return float(match[1]) if match else None


def find(
    protocol: str, ablation: str, method: str, variant: str, dataset: str, metric: str
) -> Published | None:
    """What a paper prints for one cell of a table.

    Args:
        protocol: "base_to_novel", "cross_dataset", …
        ablation: "", or a name such as "iterations".
        method: a name from the table of methods.
        variant: "", or the ablation's label, e.g. "N=1" or "-G^V".
        dataset: a data set's name, or "average".
        metric: "base", "new" or "h"; "accuracy" in the other protocols.
    """
    if protocol == "base_to_novel":
        found = _base_to_novel(ablation, method, variant, dataset)
        if found is None or metric not in ("base", "new", "h"):
            return None
        scores, source = found
        return Published(scores[("base", "new", "h").index(metric)], source)
    tables = {
        "cross_dataset": (CROSS_DATASET, f"{PROMPT}, Table 2"),
        "domain_generalization": (DOMAIN_GENERALIZATION, f"{PROMPT}, Table 3"),
    }
    if protocol not in tables or ablation or variant:
        return None
    table, source = tables[protocol]
    value = table.get(method, {}).get(dataset)
    return None if value is None else Published(value, source)


def _base_to_novel(
    ablation: str, method: str, variant: str, dataset: str
) -> tuple[Scores, str] | None:
    """Base, new and H, and where they stand."""
    table_4 = f"{PROMPT}, Table 4"
    if not variant:
        if dataset == "average":
            return BASE_TO_NOVEL.get(method)
        # Its row N = 0 is zero-shot CLIP, its last one the method itself.
        iterations = {"zero_shot": 0, "pro_mpt": 2}.get(method)
        row = ITERATIONS.get(-1 if iterations is None else iterations, {})
        return (row[dataset], table_4) if dataset in row else None
    if method != "pro_mpt":
        return None
    value = number(variant)
    if ablation == "iterations" and value is not None and value in ITERATIONS:
        scores = ITERATIONS[int(value)].get(dataset)
        return (scores, table_4) if scores else None
    if dataset != "average":
        return None
    if ablation == "components" and variant in COMPONENTS:
        return COMPONENTS[variant], f"{PROMPT}, Table 5"
    if value is not None and KEPT_SETTING.get(ablation) == value:
        return BASE_TO_NOVEL["pro_mpt"]
    return None
