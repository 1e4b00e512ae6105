"""Finds published figures of images in the methods' records.

Accuracy in %, ViT-B/16, 16 shots. Averages are those of the papers, not recomputed, as they were
taken before rounding.
"""

import re
from typing import NamedTuple

from data_pipelines import datasets
from experiments.record.runs import METRICS, RETRIEVAL, WAYS
from prompt_jax import methods
from prompt_jax.methods import record

BACKBONE, SHOTS = "ViT-B/16 with OpenAI's weights", 16
# Values of `config.backbone` for it; files and directories are not recognized.
BACKBONE_NAMES = ("ViT-B/16", "openai/clip-vit-base-patch16")
_NAMES = {"ViT-B/16": BACKBONE_NAMES, "ViT-B/32": ("ViT-B/32", "openai/clip-vit-base-patch32")}

TARGETS, SHIFTED = record.TARGETS, record.SHIFTED
# In the order of tables, the oldest first.
METHODS = tuple(methods.METHODS)

# The data sets that a published average is taken over.
AVERAGED = {
    "base_to_novel": ("imagenet", *TARGETS),
    "cross_dataset": TARGETS,
    "domain_generalization": SHIFTED,
}
HALVES = ("base", "new", "h")
RANKS = [f"{way} {metric}" for way in WAYS for metric in METRICS]


class Published(NamedTuple):
    """A published figure, in percent, and its source."""

    value: float
    source: str


def rows(
    kind: str, method: str, protocol: str, ablation: str = "", variant: str = ""
) -> list[record.Published]:
    """Returns the published rows of a method for a protocol and ablation.

    Args:
        kind: "images" or "videos".
        method: a name from the table of methods.
        protocol: "base_to_novel", "cross_dataset", …
        ablation: "", or a name such as "iterations".
        variant: "", or the label of a variant.
    """
    found = methods.RECORDS[kind].get(method)
    return [
        row
        for row in (found.published if found else ())
        if (row.protocol, row.ablation) == (protocol, ablation) and _same(row.variant, variant)
    ]


def _same(one: str, other: str) -> bool:
    """Returns whether two variants' labels are equal or the same number: "N=1", "N=1.0"."""
    return one == other or (number(one) is not None and number(one) == number(other))


# The variants of ProMPT's Table 5, in its order.
COMPONENTS = [
    row.variant
    for row in methods.RECORDS["images"]["pro_mpt"].published
    if row.ablation == "components"
]


def data_difference(name: str, classes: int | None, images: int | None, split_source: str) -> str:
    """Returns how the test data differ from those of published figures.

    Args:
        name: the data set.
        classes: number of tested classes, base and new together; None if unknown.
        images: number of test images; None if unknown.
        split_source: description of the source of the split.

    Returns:
        e.g. "dtd: 10 of 47 classes, 240 of 1,692 test images"; "" if nothing is known to differ.
    """
    key, part = datasets.split_domain(name)
    entry = datasets.TABLE.get(key)
    if entry is None or entry.counts is None:
        return ""
    # The table has the counts of the first split only.
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
    # For ImageNet and its variants, the benchmark uses the official splits, as TFDS does.
    if split_source.startswith("TFDS") and name not in ("imagenet", *SHIFTED):
        parts.append(f"TFDS's own splits, not the benchmark's ({split_source})")
    return f"{name}: {', '.join(parts)}" if parts else ""


def number(variant: str) -> float | None:
    """Returns the value in a label such as "N=1" or "lambda=0.5"; None if there is none."""
    match = re.fullmatch(r"[^=]+=\s*(-?\d+(?:\.\d+)?)", variant.strip())
    return float(match[1]) if match else None


def find(
    protocol: str, ablation: str, method: str, variant: str, dataset: str, metric: str
) -> Published | None:
    """Returns the published figure for one cell of a table; None if there is none.

    Args:
        protocol: "base_to_novel", "cross_dataset", …
        ablation: "", or a name such as "iterations".
        method: a name from the table of methods.
        variant: "", or the ablation's label, e.g. "N=1" or "-G^V".
        dataset: a data set's name, or "average".
        metric: "base", "new" or "h"; "accuracy" in the other protocols.
    """
    if protocol not in AVERAGED or (protocol == "base_to_novel") != (metric in HALVES):
        return None
    place = HALVES.index(metric) if metric in HALVES else 0
    # An ablation's table also has a row for the method itself, as published.
    for row in rows("images", method, protocol, ablation if variant else "", variant):
        if dataset in row.figures and (value := row.figures[dataset][place]) is not None:
            return Published(value, row.source)
    return None


def find_ranks(method: str, dataset: str, backbone: str) -> dict[str, Published]:
    """Returns the published figures of a retrieval run by column, e.g. "t2v R@1"."""
    for row in rows("videos", method, RETRIEVAL):
        if dataset in row.figures and backbone in _NAMES[row.backbone]:
            figures = zip(RANKS, row.figures[dataset], strict=False)
            return {
                column: Published(float(x), row.source) for column, x in figures if x is not None
            }
    return {}
