"""Loads a `Model` from a run directory, the Hugging Face hub or a backbone."""

import inspect
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from prompt_jax import methods
from prompt_jax.clip import CLIP, PRECISIONS, CLIPConfig, Frozen, loading
from prompt_jax.clip.checkpoints import hub, preprocessing
from prompt_jax.clip.layers import scans
from prompt_jax.clip.memory import default_budget
from prompt_jax.errors import ArgumentError, PromptError, escape, unknown
from prompt_jax.inputs.images.preprocessing import Preprocessing, choose
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.methods import Method
from prompt_jax.models import saved
from prompt_jax.models.model import Model
from prompt_jax.models.saved import Saved
from prompt_jax.models.saved_fields import DTYPES
from prompt_jax.prompts import PHOTO
from prompt_jax.storage import schemas
from prompt_jax.training import compiled
from prompt_jax.training.sharding import Placement, find_devices

HUB = "hf:"
_SETTING = "prepare={'stats': …, 'resize': …, 'interpolation': …} of pj.load, or --stats of predict"
VIDEO = "a video of a {}."


def load(
    source: str | os.PathLike,
    *,
    backbone: str | os.PathLike | None = None,
    activation: str | None = None,
    dtype: str | None = None,
    precision: str | None = None,
    frames: int = 0,
    prepare: str | Mapping[str, Any] | None = None,
) -> Model:
    """Loads a CLIP with trained prompts, or a bare backbone.

    Programs that are compiled from now on are cached on disk, see `training.compiled`.
    Values that a bare backbone's files do not state are printed as notes, and listed in
    `Model.assumed`.

    Args:
        source: a run directory, or another one with model.json; "hf:user/name" on the Hugging Face
            hub; or a bare backbone, as for `clip.loading.load` ("ViT-B/16", a directory, a file,
            "embedded").
        backbone: for a trained model: path or name of its backbone, if it was moved.
        activation: for a bare backbone: see `clip.loading.read`; required if no file states it.
        dtype: compute type of the frozen towers, "float32" or "bfloat16"; None: as in training,
            float32 for a bare backbone.
        precision: of the towers' float32 matrix products on an accelerator, see `CLIP.precision`;
            None: as in training, "highest" for a bare backbone.
        frames: for a bare backbone: frames per video; 0 for images.
        prepare: for a bare backbone: preprocessing that its files do not state, or state wrongly:
            "clip", "imagenet" or "half" (mean and standard deviation), or a dict of `stats`, or
            `mean` and `std`, `resize` and `interpolation`; see `inputs.images.preprocessing`.
            None: as the files state, else CLIP's.

    Raises:
        PromptError: the source is not a model, is damaged, or its backbone does not match.
    """
    if dtype is not None and dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if precision is not None and precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        raise PromptError(f"{source!r} is not a directory, a file or the name of a CLIP")
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 0:
        raise PromptError(f"frames={frames!r} must be a whole number: 0 for images, or more")
    find_devices()
    compiled.keep()
    text = os.fspath(source)
    folder = _download(text.removeprefix(HUB)) if text.startswith(HUB) else _model_folder(source)
    if folder is None:
        if backbone is not None:
            raise ArgumentError(
                f"{source} is a backbone, not a trained model", "leave {} out", "backbone"
            )
        try:
            chosen = _chosen(prepare)
            computing = dtype or "float32", precision or "highest"
            return _bare(text, activation, *computing, frames, chosen)
        except PromptError as error:
            # A directory with a CLIP's config is a backbone, even if it is damaged.
            there = pathlib.Path(source)
            if not there.is_dir() or any((there / name).exists() for name in hub.CONFIGS):
                raise
            raise PromptError(f"{error}; nor model.json of a trained model") from error
    of_bare = {"frames": frames, "activation": activation, "prepare": prepare}
    if given := [name for name, value in of_bare.items() if value]:
        raise ArgumentError(
            f"{source} is a trained model, which defines them itself",
            f"leave {' and '.join(['{}'] * len(given))} out",
            *given,
        )
    model = saved.read(folder)
    if text.startswith(HUB) and backbone is None:
        from prompt_jax.models.sharing import check_backbone  # see `_download`

        check_backbone(model, text)
    return restore(model, folder, backbone, dtype, precision)


def restore(
    model: Saved,
    folder: pathlib.Path,
    backbone: str | os.PathLike | None = None,
    dtype: str | None = None,
    precision: str | None = None,
) -> Model:
    """Returns a saved model with its backbone.

    Args:
        model: from `saved.read`.
        folder: its directory, for messages.
        backbone, dtype, precision: see `load`.

    Raises:
        PromptError: see `load`.
    """
    method, settings = method_of(model)
    source = os.fspath(backbone or model.backbone)
    try:
        # Older models do not record the activation that was assumed, but their sizes do.
        sizes, frozen = loading.load(source, model.sizes.activation)
    except PromptError as error:
        raise ArgumentError(
            f"the backbone of {folder}, {source}: {error}", "pass its location by {}", "backbone"
        ) from error
    if loading.fingerprint(sizes, frozen) != model.backbone_hash:
        raise PromptError(
            f"{folder} was trained on another backbone than {source}, and prompts are not "
            f"transferable between backbones; load it with {model.backbone}"
        )
    saved.check_sizes(model, sizes, source)
    clip, placed = place(sizes, frozen, dtype or model.dtype, precision or model.precision)
    return Model(
        name=model.method,
        method=method,
        settings=settings,
        prompts=Placement().replicate(jax.tree.map(jnp.asarray, model.prompts)),
        clip=clip,
        frozen=placed,
        inputs=model.inputs,
        class_names=model.class_names,
        class_ids=model.class_ids,
        template=model.template,
        trained=dict(model.trained),
        backbone=source,
        activation=model.activation,
        task=model.task,
        class_texts=model.texts,
        temperature=model.temperature,
    )


def method_of(model: Saved) -> tuple[Method, Any]:
    """Returns the method of a saved model and its `Settings`.

    Raises:
        PromptError: there is no such method, or its settings have changed since.
    """
    method = methods.find(model.method, model.kind, model.task)
    return method, schemas.make(method.Settings, model.settings, "settings")


def place(sizes: CLIPConfig, frozen: Frozen, dtype: str, precision: str) -> tuple[CLIP, Frozen]:
    """Replicates a backbone on all devices."""
    placement, scan = Placement(), scans(jax.default_backend())
    clip = CLIP(
        sizes, jnp.dtype(dtype), default_budget(), placement.mesh, precision, scan_layers=scan
    )
    arrays = jax.tree.map(jnp.asarray, clip.arrange(frozen, exact=True))
    return clip, placement.put_frozen(arrays)


def _bare(
    source: str,
    activation: str | None,
    dtype: str,
    precision: str,
    frames: int,
    chosen: Mapping[str, Any],
) -> Model:
    read = loading.read(source, activation)
    prepared, notes = prepared_by(source, read.config.image_size, chosen)
    for line in (*read.assumed, *notes):
        print(f"note: {escape(source)}: {escape(line)}", file=sys.stderr, flush=True)
    clip, frozen = place(read.config, read.frozen, dtype, precision)
    method = methods.get("zero_shot")
    rule = "even" if frames else ""
    return Model(
        name="zero_shot",
        method=method,
        settings=method.Settings(),
        prompts={},
        clip=clip,
        frozen=frozen,
        inputs=Inputs.of(clip.config.image_size, prepared, frames, rule),
        template=VIDEO if frames else PHOTO,
        backbone=source,
        activation=activation or "",
        assumed=(*read.assumed, *notes),
    )


def prepared_by(
    source: str, image_size: int, chosen: Mapping[str, Any]
) -> tuple[Preprocessing, list[str]]:
    """Returns the preprocessing of a backbone, and notes on what was assumed.

    Args:
        source: the backbone.
        image_size: its input size in pixels.
        chosen: see `inputs.images.preprocessing.choose`.

    Raises:
        PromptError: see `clip.preprocessing.resolve`.
    """
    declared = loading.read_preprocessing(source, image_size)
    try:
        return preprocessing.resolve(declared, chosen, image_size, _SETTING)
    except PromptError as error:
        raise PromptError(f"{source}: {error}") from None


def _chosen(prepare: str | Mapping[str, Any] | None) -> dict[str, Any]:
    asked = {"stats": prepare} if isinstance(prepare, str) else prepare or {}
    if not isinstance(asked, Mapping):
        raise PromptError(f"prepare={prepare!r} must be a name, a dict, or None")
    known = inspect.signature(choose).parameters
    if wrong := next((name for name in asked if name not in known), None):
        raise unknown("field of prepare", str(wrong), known)
    return choose(**asked)


def _download(name: str) -> pathlib.Path:
    """Downloads a model from the hub, once; returns its directory."""
    from prompt_jax.models.sharing import download  # its imports take a second

    return download(name)


def _model_folder(source: str | os.PathLike) -> pathlib.Path | None:
    """Returns the directory if `source` is one that holds, or should hold, a trained model."""
    folder = pathlib.Path(source)
    if folder.name == saved.MODEL:
        folder = folder.parent
    found = ("model.json", "results.json", "run.json")
    # Not is_file, so that reading reports other kinds of files.
    return folder if any(os.path.lexists(folder / name) for name in found) else None
