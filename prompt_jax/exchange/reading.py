"""Reads a reference implementation's checkpoint as a trained model."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from prompt_jax import methods
from prompt_jax.clip import CLIPConfig, Frozen, loading
from prompt_jax.clip.checkpoints.state_dicts import read_training
from prompt_jax.errors import PromptError, shorten, unknown
from prompt_jax.exchange import layouts, words
from prompt_jax.exchange.layouts import LAYOUTS
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models.loading import prepared_by
from prompt_jax.models.saved import Saved
from prompt_jax.prompts import PHOTO

# MaPLe's code keeps the words before the names only up to this number of vectors.
MOST_WITH_WORDS = 4
_WORDS = "a photo of a"


class Wanted(NamedTuple):
    """Settings that a checkpoint does not store, or that override it.

    Attributes:
        backbone, activation: see `clip.loading.load`.
        method: one of `LAYOUTS`; "" detects it.
        class_names: in label order; None reads them from the file.
        template: the data set's template, for comparison with zero-shot CLIP.
        context_words: CTX_INIT of the training; None detects MaPLe's, and means "" for the others.
        name_position: CoOp's CLASS_TOKEN_POSITION of the training.
    """

    backbone: str
    activation: str = ""
    method: str = ""
    class_names: Sequence[str] | None = None
    template: str = PHOTO
    context_words: str | None = None
    name_position: str = "end"


def read(path: pathlib.Path, wanted: Wanted) -> Saved:
    """Reads the model in a checkpoint and checks it against its backbone and class names.

    Raises:
        PromptError: the file cannot be read, belongs to another method, or does not match the
            backbone or the class names.
    """
    state, numbers = read_training(path)
    try:
        learner = layouts.find_learner(state)
        method = wanted.method or layouts.find_method(learner)
        if method not in LAYOUTS:
            raise unknown("method", method, LAYOUTS)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    sizes, frozen, assumed = loading.read(wanted.backbone, wanted.activation or None)
    prepared, _ = prepared_by(wanted.backbone, sizes.image_size, {})
    try:
        prompts, settings, names = _convert(method, learner, sizes, frozen, wanted)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None
    return Saved(
        method=method,
        kind="images",
        task="classes",
        settings=dataclasses.asdict(settings),
        class_names=tuple(names),
        template=wanted.template,
        backbone=wanted.backbone,
        backbone_hash=loading.fingerprint(sizes, frozen),
        activation=wanted.activation,
        dtype="float32",
        sizes=sizes,
        inputs=Inputs.of(sizes.image_size, prepared),
        trained=_origin(path, method, numbers) | {"assumed": list(assumed)},
        prompts=prompts,
    )


def _origin(path, method, numbers):
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "by": f"the reference implementation of {LAYOUTS[method].trainer}",
        "file": str(path),
        "sha256": digest,
        "epoch": numbers.get("epoch"),
    }


def _convert(
    method: str,
    learner: layouts.State,
    sizes: CLIPConfig,
    frozen: Frozen,
    wanted: Wanted,
) -> tuple[dict[str, Any], Any, Sequence[str]]:
    """Returns prompts, settings and class names."""
    prompts = layouts.to_prompts(method, learner, sizes, wanted.backbone)
    table = np.asarray(frozen["text"]["token_embedding"])
    words.check_backbone(learner, table, sizes.context_length, wanted.backbone)
    number = words.count(learner)
    if wanted.class_names is not None and number not in (None, len(wanted.class_names)):
        raise PromptError(
            f"it was trained on {number} classes, but {len(wanted.class_names)} names were given; "
            "pass the class names of its training, in label order"
        )
    length = learner["ctx"].shape[-2]
    candidates = _candidates(method, length, wanted.context_words)
    names, context_words = _find_names(learner, table, sizes, wanted, candidates)
    return prompts, _settings(method, learner, context_words, wanted), names


def _candidates(method, length, given):
    """Returns candidates for the words before the class names, most likely first."""
    if given is not None:
        return (given.replace("_", " "),)
    return (_WORDS, "") if method == "maple" and length <= MOST_WITH_WORDS else ("",)


def _find_names(
    learner: Mapping[str, np.ndarray],
    table: np.ndarray,
    sizes: CLIPConfig,
    wanted: Wanted,
    candidates: Sequence[str],
) -> tuple[Sequence[str], str]:
    """Returns the class names and the words before them that match the embedded tokens.

    Raises:
        PromptError: the given names do not match, or none are given and the file has none.
    """
    suffix, length = learner.get("token_suffix"), learner["ctx"].shape[-2]
    slots, given = sizes.context_length, wanted.class_names
    if suffix is None:
        if given is None:
            raise PromptError(
                "it holds no class names (token_suffix): pass a file of them, one per line "
                "(--classes)"
            )
        words.tokens_after(given, length, candidates[0], slots)
        return given, candidates[0]
    texts = words.read_texts(suffix, table) if given is None else ()
    tries = []
    for front in candidates:
        names = words.names_in(texts, length, front) if given is None else given
        same = words.matches(suffix, words.tokens_after(names, length, front, slots), table)
        if same.all():
            return names, front
        tries.append((same, front))
    same, front = max(tries, key=lambda each: each[0].sum())
    raise PromptError(_difference(int(np.argmin(same)), suffix, table, wanted, front))


def _difference(row, suffix, table, wanted, front):
    """Returns an error message about the first class that does not match."""
    [text] = words.read_texts(suffix[row : row + 1], table)
    if text is None or wanted.class_names is None:
        return (
            f"the embedded words of its class {row} are not those of {wanted.backbone}: it was "
            "trained on another CLIP"
        )
    return (
        f"class {row} is {shorten(text)} in the checkpoint, but "
        f"{shorten(wanted.class_names[row])} among the given names; pass the class names of its "
        "training in label order, or leave out --classes to read them from the checkpoint"
    )


def _settings(method, learner, context_words, wanted):
    context = learner["ctx"]
    values = {"context_length": context.shape[-2], "context_words": context_words}
    if method == "coop":
        values |= {"class_specific": context.ndim == 3, "name_position": wanted.name_position}
    elif wanted.name_position != "end":
        raise PromptError(
            f"name_position={wanted.name_position!r} is only supported by coop; {method} needs "
            '"end"'
        )
    if method == "maple":
        values["depth"] = layouts.find_depth(learner)
    return methods.get(method).Settings(**values)
