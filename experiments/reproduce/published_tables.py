"""Published tables that a command can repeat; their figures are in the methods' records."""

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from experiments.config.config import Config, change, read
from experiments.config.protocols import PROTOCOLS
from experiments.figures.papers import published
from experiments.setup.protocols import split_names
from prompt_jax import methods
from prompt_jax.errors import PromptError, unknown
from prompt_jax.methods.record import AVERAGE, Published

SEEDS = (1, 2, 3)


@dataclasses.dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Attributes:
        title: the paper and its table.
        protocol: of its runs.
        rows: method and figures; they have one protocol, ablation and backbone.
        kind: of the data, "images" or "videos".
        ablation: the name of its config, if its rows are variants of a method.
        changes: config fields that differ from those of the protocol's config.
    """

    title: str
    protocol: str
    rows: tuple[tuple[str, Published], ...]
    kind: str = "images"
    ablation: str = ""
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def backbone(self) -> str:
        """Returns the CLIP of the published figures."""
        return self.rows[0][1].backbone

    @property
    def zero_shot(self) -> str:
        """Returns the method that is zero-shot CLIP on this kind of data."""
        of_actions = self.kind == "videos" and self.protocol != "retrieval"
        return "clip_video" if of_actions else "zero_shot"

    @property
    def methods(self) -> list[str]:
        """Returns the methods of the rows."""
        return list(dict.fromkeys(name for name, _ in self.rows))

    @property
    def names(self) -> list[str]:
        """Returns the data sets that the figures are about, without a source."""
        named = list(dict.fromkeys(name for _, row in self.rows for name in row.figures))
        if AVERAGE in named:
            named += published.AVERAGED.get(self.protocol, ())
        return [name for name in dict.fromkeys(named) if name != AVERAGE]


def columns(row: Published) -> dict[tuple[str, str], float]:
    """Returns the figures of a row by data set and metric, as tables of results name them."""
    if row.protocol == "base_to_novel":
        metrics = list(published.HALVES)
    elif row.protocol == "few_shot":
        metrics = ["2", "4", "8", "16"]
    elif row.protocol == "supervised":
        metrics = ["accuracy", "accuracy, top-5"]
    elif row.protocol == "retrieval":
        metrics = published.RANKS
    else:
        metrics = ["accuracy"]
    return {
        (name, metric): value
        for name, values in row.figures.items()
        for metric, value in zip(metrics, values, strict=False)
        if value is not None
    }


def _table(
    title: str,
    protocol: str,
    *sources: str,
    kind: str = "images",
    ablation: str = "",
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> PublishedTable:
    """Returns the table whose figures have these sources, or beginnings of them; else the title."""
    rows = tuple(
        (record.name, row)
        for record in methods.RECORDS[kind].values()
        for row in record.published
        if row.source.startswith(sources or title)
        and (row.protocol, row.ablation) == (protocol, ablation)
        and record.recipe(protocol)  # of videos, one of two names of zero-shot CLIP
    )
    return PublishedTable(title, protocol, rows, kind, ablation, changes)


_PROMPT = "ProMPT (ICMR 2024)"
_VILT = "ViLT-CLIP (AAAI 2024)"
_VOP = "VoP (CVPR 2023)"
_VIFI = "ViFi-CLIP (CVPR 2023)"
_BASE, _CROSS, _SHIFT = "base_to_novel", "cross_dataset", "domain_generalization"
_MIRRORED = {"data.flip": True}  # in training, as in the paper; see configs/video/retrieval.py

TABLES: dict[str, PublishedTable] = {
    # Its figures of single data sets are printed in Table 4.
    "prompt-1": _table(f"{_PROMPT}, Table 1", _BASE, f"{_PROMPT}, Table 1", f"{_PROMPT}, Table 4"),
    "prompt-2": _table(f"{_PROMPT}, Table 2", _CROSS),
    "prompt-3": _table(f"{_PROMPT}, Table 3", _SHIFT),
    "prompt-4": _table(f"{_PROMPT}, Table 4", _BASE, ablation="iterations"),
    "prompt-5": _table(f"{_PROMPT}, Table 5", _BASE, ablation="components"),
    "vpt": _table("VPT-deep as later papers quote it", _BASE),
    "kgcoop": _table("KgCoOp (CVPR 2023)", _BASE),
    "maple": _table("MaPLe (CVPR 2023)", _BASE),
    "promptsrc": _table("PromptSRC (ICCV 2023)", _BASE),
    "gda": _table("GDA (ICLR 2024)", _BASE),
    "gopro-base": _table("GOPro (BMVC 2023)", _BASE),
    "gopro-cross": _table("GOPro (BMVC 2023)", _CROSS),
    "gopro-shift": _table("GOPro (BMVC 2023)", _SHIFT),
    "tip-adapter": _table(
        "Tip-Adapter (ECCV 2022)", "few_shot", changes={"data.shots_list": (16,)}
    ),
    "vop-1": _table(f"{_VOP}, Table 1", "retrieval", kind="videos", changes=_MIRRORED),
    "vop-2": _table(f"{_VOP}, other data sets", "retrieval", kind="videos", changes=_MIRRORED),
    "vilt-1": _table(f"{_VILT}, Table 1", "few_shot", kind="videos"),
    "vilt-2": _table(f"{_VILT}, Table 2", "supervised", kind="videos"),
    "vilt-3": _table(f"{_VILT}, Table 3", "zero_shot_transfer", kind="videos"),
    "vilt-4": _table(f"{_VILT}, Table 4", _BASE, kind="videos"),
    "vilt-5": _table(f"{_VILT}, Tables 5 and 7", "retrieval", kind="videos"),
    "vilt-6": _table(f"{_VILT}, Table 6", "supervised", kind="videos"),
    "vifi-transfer": _table(_VIFI, "zero_shot_transfer", kind="videos"),
    "vifi-supervised": _table(_VIFI, "supervised", kind="videos"),
    "ez-base": _table("EZ-CLIP's repository", _BASE, kind="videos"),
    "ez-transfer": _table("EZ-CLIP's repository", "zero_shot_transfer", kind="videos"),
}
"""By the name on the command line."""


def find(name: str) -> PublishedTable:
    """Returns a table by its name; raises a PromptError if there is none."""
    if name not in TABLES:
        raise unknown("table", name, TABLES)
    return TABLES[name]


def select(
    table: PublishedTable, wanted: Sequence[str] = (), names: Sequence[str] = ()
) -> PublishedTable:
    """Returns the part of a table that some methods and data sets have; empty: all of them.

    An average over more data sets than these is left out.

    Raises:
        PromptError: a method or data set is not in the table, or nothing is left.
    """
    for what, given, known in (
        ("method of this table", wanted, table.methods),
        ("data set of this table", names, table.names),
    ):
        if wrong := next((name for name in given if name not in known), None):
            raise unknown(what, wrong, known)
    every = set(names or table.names)
    whole = every >= set(published.AVERAGED.get(table.protocol, table.names))
    rows = [
        (
            method,
            dataclasses.replace(
                row,
                figures={
                    name: figures
                    for name, figures in row.figures.items()
                    if (whole if name == AVERAGE else name in every)
                },
            ),
        )
        for method, row in table.rows
        if not wanted or method in wanted
    ]
    rows = [(method, row) for method, row in rows if row.figures]
    if not rows:
        raise PromptError(
            f"{table.title} prints no figures of --methods={','.join(wanted)} on "
            f"--names={','.join(names)} alone; leave one of them out"
        )
    return dataclasses.replace(table, rows=tuple(rows))


def config(
    table: PublishedTable,
    root: str,
    backbone: str,
    seeds: Sequence[int] = (),
    of: Sequence[str] = (),
    protocol: str = "",
    names: Sequence[str] = (),
) -> Config:
    """Returns the config of all runs of a table.

    Args:
        table: the table.
        root: the directory that holds all data sets.
        backbone: the CLIP to measure with.
        seeds: instead of the protocol's.
        of: the methods; by default the table's.
        protocol: instead of the table's, without its ablation.
        names: data sets instead of the table's.
    """
    of = of or table.methods
    ablation = table.ablation if not protocol else ""
    protocol = protocol or table.protocol
    file = f"ablation_{ablation}" if ablation else protocol
    folder = "images" if table.kind == "images" else "video"
    module = importlib.import_module(f"experiments.configs.{folder}.{file}")
    made = module.get_config() if ablation else module.get_config(of[0])
    made.methods = ",".join(of) if len(of) > 1 else ""
    if ablation:
        printed = {row.variant for _, row in table.rows}
        made.variants = tuple(one for one in made.variants if one[0] in printed)
    spec = PROTOCOLS[protocol]
    names = names or table.names
    names = [name for name in names if name != made.data.name or not spec.tests_others]
    made.data.names = ",".join(_in_order(names, split_names(made.data.names)))
    made.data.root, made.backbone = root, backbone
    if seeds or not (made.seeds or made.seeds_of_own_data):
        made.seeds = tuple(seeds or SEEDS)
    changes = {name: value for name, value in table.changes.items() if protocol == table.protocol}
    return change(read(made), changes)


def _in_order(names: Sequence[str], usual: Sequence[str]) -> list[str]:
    """Returns names in the order of the protocol's config, others behind."""
    return sorted(names, key=lambda name: usual.index(name) if name in usual else len(usual))


def data_sets(one: Config) -> list[str]:
    """Returns the data sets that the runs of a config read."""
    others = split_names(one.data.names)
    names = [one.data.key, *others] if one.protocol_spec.tests_others else others or [one.data.key]
    return list(dict.fromkeys(names))
