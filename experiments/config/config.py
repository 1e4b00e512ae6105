"""Declares every field of an experiment: type, default, help, allowed values, role in identity.

The command line, --help, checks, sweeps and identities are derived from this declaration.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from experiments.config import fields
from experiments.config.data import Data
from experiments.config.fields import WHOLE, field
from experiments.config.protocols import PROTOCOLS, Protocol
from prompt_jax.clip import PRECISIONS
from prompt_jax.clip.blocks import ATTENTION
from prompt_jax.clip.config import ACTIVATIONS
from prompt_jax.errors import PromptError, check_type, unknown
from prompt_jax.methods.recipe import Recipe
from prompt_jax.models.saved_fields import DTYPES

LAYERS = ("auto", "scan", "unrolled")

_NUMBERS = "numbers, e.g. 0.002,0.004"

FILE_MARK = "@"
"""Before the name of a file whose text is a setting."""

MOST_BYTES = 2**20
"""The largest size of such a file."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The config of an experiment; `settings` belong to the method, which checks them."""

    method: str = field(
        "pro_mpt", 'name of a method, or "module:ATTRIBUTE" for one of another package', role="run"
    )
    methods: str = field(
        "",
        '"a,b": several methods, one run each with its own recipe; instead of the config\'s method',
        role="free",
        since="2026-12-01",
    )
    backbone: str = field(
        "embedded",
        '"embedded", a directory, a file, a hub id, or a name like "ViT-B/16"',
        role="run",
    )
    backbone_title: str = field(
        "",
        "the backbone's name in tables, plots and pages; '': its own, of a path the last part",
        role="free",
        since="2026-12-01",
    )
    activation: str = field(
        "",
        "activation of the towers; '': as the checkpoint states",
        choices=("", *ACTIVATIONS),
        affects="tests",
    )
    dtype: str = field(
        "float32", "compute type of the frozen towers", choices=DTYPES, affects="tests"
    )
    precision: str = field(
        "highest",
        "precision of the towers' float32 products on accelerators: highest is float32; high, "
        "default round to TF32 (NVIDIA) or bfloat16 (TPU) and are faster; see docs/using.md",
        choices=PRECISIONS,
        since="2026-12-01",
        affects="tests",
    )
    memory_gb: float = field(
        0.0,
        "memory for a tower's backward pass; 0: a quarter of the device's",
        at_least=0,
        unit="GB",
        role="free",
    )
    mesh: str = field(
        "",
        "the devices as a mesh, e.g. data:4,model:2: data splits batches, model splits classes; "
        "'': all along data; see docs/using.md",
        role="free",
        since="2026-12-01",
    )
    shard_frozen: bool = field(
        False,
        "split the backbone's weights over the devices, along model, or data if there is no model",
        role="free",
        since="2026-12-01",
    )
    attention: str = field(
        "written",
        "how attention is computed: written out as two products, or by JAX's library function with "
        "xla or cudnn (NVIDIA GPUs, 16-bit dtype)",
        choices=ATTENTION,
        since="2026-12-01",
        role="free",
    )
    layers: str = field(
        "auto",
        "whether the towers' layers are compiled once as a loop (scan) or each by itself; auto: "
        "scan on accelerators, unrolled on a CPU",
        choices=LAYERS,
        since="2026-12-01",
        role="free",
    )
    protocol: str = field(
        "base_to_novel",
        "training and test data; retrieval is for videos with captions",
        choices=PROTOCOLS,
        role="run",
    )
    init_from: str = field(
        "",
        "directory of a run of the same method whose prompts are the initial prompts",
        role="run",  # identified by the digest of the prompts, not by the path
        since="2026-11-29",
    )
    texts: str = field(
        "embedded",
        "texts of the classes, for methods that read them: a file, or embedded for those of the "
        "embedded data sets; see docs/texts.md",
        role="run",  # identified by the digest of the texts, not by the path
        since="2026-12-01",
    )
    second_backbone: str = field(
        "embedded",
        "a ViT beside the backbone, for methods that label training images themselves: DINO's "
        "weight file, a directory, a hub id, or embedded for the embedded CLIP's image tower, a "
        "stand-in",
        role="run",  # identified by the hash of its weights, not by the path
        since="2026-12-01",
    )
    calibrate: bool = field(
        False,
        "divide the logits by a temperature chosen on validation images or held-out shots, so that "
        "probabilities are calibrated; see docs/confidence.md",
        since="2026-12-01",
    )
    seed: int = field(
        1,
        "seed of shots, initial prompts, order of batches and augmentation",
        at_least=0,
        at_most=2**32 - 1,
        role="run",
    )
    seeds: tuple[int, ...] = field((), "several seeds, one run each: 1,2,3", form=WHOLE, role="run")
    seeds_of_own_data: tuple[int, ...] = field(
        (),
        "seeds instead of `seeds`, if that is empty, for data without published draws",
        form=WHOLE,
        role="free",
        since="2026-12-01",
    )
    learning_rates: tuple[float, ...] = field(
        (), "several learning rates, one run each", above=0, form=_NUMBERS, role="run"
    )
    parallel_seeds: bool = field(
        False, "train several seeds and learning rates in one program", role="free"
    )

    data: Data = dataclasses.field(default_factory=Data)

    batch_size: int = field(
        Recipe.batch_size,
        "training images per step; a multiple of the devices along data",
        at_least=1,
    )
    eval_batch_size: int = field(
        100, "test images per step; a multiple of the devices along data", at_least=1, role="free"
    )
    cached_views: int = field(
        Recipe.cached_views,
        "0: new crops in every epoch; n: n crops per image, whose features are cached",
        at_least=0,
        role="run",  # averages compare the run's "features"
    )
    epochs: int = field(
        Recipe.epochs, "passes over the training images; 0: by epochs_by_shots", at_least=0
    )
    epochs_by_shots: tuple[tuple[int, int], ...] = field(
        Recipe.epochs_by_shots,
        "((most shots, epochs), …): the first entry with enough shots, else the last",
        at_least=1,
        form="pairs (most shots, epochs), e.g. ((2, 50),)",
    )
    optimizer: Literal["sgd", "adamw"] = field(Recipe.optimizer, "optimizer of the prompts")
    schedule: Literal["coop", "constant", "cosine", "warmup_cosine", "vifi"] = field(
        Recipe.schedule,
        "learning rate. coop: a warm-up, then a cosine, both by epoch; all others by step. "
        "See prompt_jax/training/optim.py",
    )
    warmup_epochs: int = field(
        Recipe.warmup_epochs,
        "vifi: epochs in which the rate grows from 0, none if epochs is smaller; coop: epochs at a "
        "rate of 1e-5, one if this is 0 or at least epochs; warmup_cosine: epochs in which the "
        "rate grows from 0, a tenth of all if this is 0 or at least epochs",
        at_least=0,
        since="2026-11-28",
    )
    learning_rate: float = field(Recipe.learning_rate, "peak learning rate", above=0)
    momentum: float = field(Recipe.momentum, "sgd: momentum", at_least=0, below=1)
    weight_decay: float = field(Recipe.weight_decay, "weight decay, also of prompts", at_least=0)
    adam_epsilon: float = field(Recipe.adam_epsilon, "adamw: epsilon", at_least=0)
    adam_betas: tuple[float, float] = field(
        Recipe.adam_betas,
        "adamw: decay rates of the first and second moments",
        at_least=0,
        below=1,
        form="two numbers",
        since="2026-11-28",
    )
    clip_norm: float = field(
        Recipe.clip_norm,
        "larger gradients are scaled to this norm; 0: no clipping",
        at_least=0,
    )
    log_every: int = field(
        20, "steps between lines of metrics.jsonl", at_least=1, unit="steps", role="free"
    )
    tracker: Literal["", "wandb"] = field(
        "", "wandb: also log metrics to Weights & Biases; needs the extra wandb", role="free"
    )
    checkpoint_every: int = field(
        500,
        "steps between checkpoints; one more is written at the end",
        at_least=1,
        unit="steps",
        role="free",
    )

    ablation: str = field("", "name of the table whose rows are the variants", role="run")
    variants: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = field(
        (),
        "((label, ((field, value), …)), …): one run each",
        form='(label, ((field, value), …)) each, e.g. ("N=1", (("settings.iterations", 1),))',
        role="run",
    )
    variant: str = field("", "label of this run's variant", role="run")

    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def protocol_spec(self) -> Protocol:
        """Returns the specification of the protocol."""
        return PROTOCOLS[self.protocol]

    @property
    def recipe(self) -> Recipe:
        """Returns the training recipe."""
        return Recipe(**{name: getattr(self, name) for name in Recipe().fields()})

    def to_dict(self) -> dict[str, Any]:
        """Returns nested dicts of plain values."""
        return dataclasses.asdict(self)


FIELDS = fields.declared(Config)
"""The declaration of each field by name, e.g. "data.shots"; without `settings`."""


def read(config: Any) -> Config:
    """Returns the checked, typed config of an `ml_collections.ConfigDict`.

    A setting of the form "@FILE" becomes the text of this file, so that a run depends on what the
    file held, not on its place.

    Args:
        config: result of a config file's `get_config`, or a `Config`, which is checked again.

    Raises:
        PromptError: a field is unknown, missing, of another type or out of its range; or a file of
            a setting cannot be read.
    """
    values = config.to_dict()
    if isinstance(values.get("settings"), Mapping):
        settings = values["settings"].items()
        values["settings"] = {name: _read_file(name, value) for name, value in settings}
    return fields.build(Config, values)


def _read_file(name: str, value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith(FILE_MARK)):
        return value
    path = pathlib.Path(value.removeprefix(FILE_MARK))
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PromptError(
                f"config.settings.{name}: {path} has more than {MOST_BYTES:,} bytes; name a "
                "shorter file"
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise PromptError(
            f"config.settings.{name}: {path} cannot be read ({reason}); {FILE_MARK} must be "
            "followed by a text file"
        ) from error


def change(config: Config, changes: Mapping[str, Any]) -> Config:
    """Returns a config with changed fields, by name: "data.shots", "settings.depth".

    Raises:
        PromptError: see `read`; a setting must also keep its type.
    """
    values = config.to_dict()
    for path, value in changes.items():
        section, (*sections, name) = values, path.split(".")
        for part in sections:
            section = section.get(part, {})
        if name not in section:
            known = (*FIELDS, *(f"settings.{setting}" for setting in config.settings))
            raise unknown("config key", path, known)
        if sections == ["settings"]:
            check_type(f"config.{path}", value, type(section[name]))
        section[name] = value
    return fields.build(Config, values)
