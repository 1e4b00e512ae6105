"""Trains a method on images and labels with one call, `fit`, without config files."""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from prompt_jax import methods
from prompt_jax.clip import loading as clip_loading
from prompt_jax.errors import PromptError, check_type, unknown
from prompt_jax.evaluation import confidence
from prompt_jax.evaluation.confidence import Calibration
from prompt_jax.inputs import class_folders, digests, draws
from prompt_jax.inputs.augmenting import Augmentation
from prompt_jax.inputs.batching import OnError
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.methods import Method, Prompts, Task, selection
from prompt_jax.methods.method import KEPT
from prompt_jax.methods.recipe import Recipe
from prompt_jax.models import loading
from prompt_jax.models.model import Model
from prompt_jax.models.shots import FEATURES_AT_ONCE, Shots, read_all, read_folder
from prompt_jax.models.shots import calibrate as calibrate_again
from prompt_jax.text import text_files
from prompt_jax.text.class_names import check_names, describe_meaningless
from prompt_jax.text.class_texts import Texts
from prompt_jax.text.labels import number_labels
from prompt_jax.training import compile_times, labeling, loop, recipes
from prompt_jax.training.features import choose, encode_captions, fit_features
from prompt_jax.training.saving import Saving
from prompt_jax.training.sharding import Placement, find_devices, parse_mesh

CHECKPOINT_EVERY = 100  # steps


def fit(
    method: str,
    backbone: str | os.PathLike | Model,
    images: Any,
    labels: Sequence[int] | Sequence[str] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
    *,
    template: str | None = None,
    settings: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    cached_views: int | None = None,
    recipe: str | None = None,
    frames: int = 0,
    flip: bool = True,
    seed: int = 1,
    resume_dir: str | os.PathLike | None = None,
    mesh: str = "",
    texts: Any = None,
    second_backbone: str | os.PathLike = labeling.EMBEDDED,
    calibrate: bool | None = None,
    on_error: OnError | None = None,
) -> Model:
    """Trains a method's prompts on labeled images or videos, with a frozen backbone.

    Images are randomly cropped and mirrored as in the papers; normalized arrays are not augmented,
    and methods that train on several views of an image do not take them.
    Arguments that are None have the values of the method's published recipe (`recipes.find`). On
    one device the prompts are bit-identical to those of an experiment with the same seed, data and
    recipe.

    Args:
        method: name of a method.
        backbone: an argument of `load`, or its result.
        images: P images or videos; see `inputs.preparation`. Without labels: a directory with one
            directory per class.
        labels: P labels: numbers from 0, or class names. None for a directory, and for a method
            that labels the images itself and needs `names`.
        names: K class names; None for the sorted names in `labels`.
        template: template with "{}" for the class name; None for the backbone's template.
        settings: fields of the method's `Settings` that differ from the published values.
        epochs, batch_size, learning_rate, cached_views: replace the recipe's values. With
            cached_views=n, features of n random crops of each image are computed once.
        recipe: name of a method whose recipe is used, without its settings; None: the method's.
        frames: frames per video; 0 for images.
        flip: whether images are mirrored at random; False if left and right matter.
        seed: seed of initial prompts, order and augmentation.
        resume_dir: directory for checkpoints. An interrupted training resumes from the newest one
            and ends with the same prompts. None writes no checkpoints.
        mesh: the devices as a mesh, e.g. "data:4,model:2": `data` splits batches, `model` splits
            classes; "" puts all along `data`. See `prompt_jax.mesh`.
        texts: texts of the classes, for methods that read them (docs/texts.md): a path, the
            content of a file, or "embedded" for those of the embedded data sets.
        second_backbone: for methods that label the images themselves: DINO's weight file, the
            directory or hub id of a ViT, or "embedded", the embedded CLIP's image tower, a
            stand-in.
        calibrate: whether to choose a temperature on held-out shots, so that probabilities are
            calibrated (docs/confidence.md). Methods on cached features train once more per fold,
            all others once more, without a quarter of the shots. None: only with methods that
            choose settings on held-out shots anyway.
        on_error: called with the error of each image or video that cannot be read, which is left
            out. None raises an error that names all such files, before the training.

    Returns:
        The trained model; `Model.save` saves it.

    Raises:
        BadImage: a file cannot be read, and `on_error` is None.
        PromptError: arguments are invalid or contradict each other, training diverged, or
            `resume_dir` holds checkpoints of another training.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise PromptError(f"seed={seed!r} must be a whole number from 0 to 2^32 - 1")
    base = _backbone(backbone, frames)
    found = methods.find(method, f"{base.inputs.kind}s")
    if labels is None and class_folders.is_folder(images):
        images, labels = read_folder(os.fspath(images), base.inputs, found.labeling is None)
    items, labels = read_all(images, labels, base.inputs, on_error)
    numbers, class_names = _labels(method, found, labels, names, len(items))
    asked = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    usual = recipes.choose(method, found, recipe, asked, cached_views)
    chosen = _settings(method, found, {**usual.settings, **_mapping(settings)}, base.inputs)
    text = base.template if template is None else template
    if text.count("{}") != 1:
        raise PromptError(f'template={text!r} must contain "{{}}" once, for the class name')
    if note := describe_meaningless(class_names, text):
        warnings.warn(note, stacklevel=2)
    placement = Placement(parse_mesh(mesh, find_devices()))
    clip = dataclasses.replace(base.clip, mesh=placement.mesh)
    clip = methods.tower_for(found, clip, f"{base.inputs.kind}s")
    given = _texts(method, found, texts)
    task = methods.make_task(found, clip, base.frozen, class_names, chosen, text, texts=given)
    shots = Shots(items, numbers, base.inputs, Augmentation(flip, views=found.views), seed)
    if on_error is None:
        shots.refuse_unreadable()
    second = _second(method, found, second_backbone, base)
    listed = [class_names[number] for number in numbers] if second is None else [""] * len(items)
    config = {
        **recipes.as_config(usual, chosen),
        "pictures": digests.digest(items, listed),
        "template": text,
        "flip": flip,
        **({"texts": given.digest} if given else {}),
        **({"second_backbone": second.fingerprint} if second else {}),
    }
    saving = None
    if resume_dir is not None:
        ordered = digests.digest(items, [str(number) for number in numbers], ordered=True)
        frozen = jax.tree.map(np.asarray, base.frozen)
        backbone_hash = clip_loading.fingerprint(base.clip.config, frozen)
        own = {"method": method, "seed": seed, "names": class_names, "backbone": backbone_hash}
        computed = {"dtype": base.clip.dtype.name, "precision": base.clip.precision}
        saving = _saving(
            resume_dir, {**config, **own, **computed, "inputs": repr(base.inputs), "order": ordered}
        )
    if second:
        shots = _label(found, placement.put_task(task), class_names, second, shots, placement)
        calibrate = _refuse_calibration(method, calibrate)
    made = method, found, usual, task, shots, saving, placement
    prompts, calibration = _train(*made, calibrate)
    prompts = Placement().replicate(prompts)  # where the backbone is
    return dataclasses.replace(
        base,
        name=method,
        method=found,
        settings=chosen,
        prompts=prompts,
        class_names=class_names,
        template=text,
        class_texts=given,
        temperature=calibration.temperature,
        trained={
            "pictures": len(items),
            "epochs": usual.epochs,
            "batch_size": usual.batch_size,
            "learning_rate": usual.learning_rate,
            "seed": seed,
            "config": config,
            **({"calibration": calibration.as_json()} if calibration.by else {}),
        },
        _tasks={},
    )


def _labels(
    name: str, method: Method, labels: Any, names: Sequence[str] | None, number: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns int32[P] and the class names; zeros if the method labels the images itself."""
    if method.labeling is None:
        if labels is None:
            raise PromptError(f"labels=None: {name} trains on labels; pass one for each image")
        return number_labels(labels, names, number)
    known = tuple(names or ())
    if labels is not None or len(known) < 2:
        raise PromptError(
            f"{name} labels the images itself: pass labels=None, and the names of all classes, at "
            "least two, as names=[…]"
        )
    check_names(known)
    if not number:
        raise PromptError("there are no images to train on")
    return np.zeros(number, np.int32), known


def _second(
    name: str, method: Method, source: str | os.PathLike, base: Model
) -> labeling.Second | None:
    if method.labeling:
        return labeling.read_second(source, base.clip)
    if source != labeling.EMBEDDED:
        raise PromptError(f"second_backbone={source}: {name} uses no second backbone; omit it")
    return None


def _label(
    method: Method,
    task: Task,
    names: Sequence[str],
    second: labeling.Second,
    shots: Shots,
    placement: Placement,
) -> Shots:
    """Returns the images with the labels that the method makes; prints how."""
    size = min(FEATURES_AT_ONCE[shots.inputs.kind], len(shots.items))
    total = -(-len(shots.items) // size)
    own = labeling.label_images(
        method, task, second, shots.plain(size), total, shots.inputs, shots.seed, placement
    )
    for note in (*second.notes, *labeling.describe(own, names)):
        print(f"note: {note}")
    return dataclasses.replace(shots, labels=own.labels)


def _texts(name: str, method: Method, texts: Any) -> Texts | None:
    if method.texts:
        return None if texts is None else text_files.resolve(texts, method.texts)
    if texts is not None:
        raise PromptError(f"texts={str(texts)[:80]!r}: {name} reads no texts of classes; omit it")
    return None


def _backbone(backbone, frames):
    base = backbone if isinstance(backbone, Model) else loading.load(backbone, frames=frames)
    if base.prompts or base.name != "zero_shot":
        raise PromptError(f"{base} is already trained; fit needs a backbone without prompts")
    if base.inputs.frames != frames:
        raise PromptError(
            f"frames={frames}, but the backbone was loaded with frames={base.inputs.frames}; use "
            "the same value"
        )
    return base


def _mapping(settings):
    if settings is not None and not isinstance(settings, Mapping):
        raise PromptError(f"settings={settings!r} must be a dict of field and value, or None")
    return settings or {}


def _settings(name: str, method: Method, asked: Mapping[str, Any], inputs: Inputs) -> Any:
    usual = dataclasses.asdict(method.Settings())
    for field, value in asked.items():
        if field not in usual:
            raise unknown(f"setting of {name}", field, usual)
        check_type(f"settings: {field}", value, type(usual[field]))
    if inputs.frames and "frames" in usual:
        asked = {"frames": inputs.frames, **asked}
    settings = method.Settings(**asked)
    methods.check_bounds(settings)
    methods.check_frame_groups(method, settings, inputs.frames, "frames")
    return settings


def _train(
    name: str,
    method: Method,
    recipe: Recipe,
    task: Task,
    shots: Shots,
    saving: Saving | None,
    placement: Placement,
    calibrate: bool | None,
) -> tuple[Prompts, Calibration]:
    task = placement.put_task(task)
    rate = f"learning_rate={recipe.learning_rate:g}"
    compiling = compile_times.describe(name, task.clip)
    options = loop.Options(rate, saving=saving, title=f"training {name}", compiling=compiling)
    if not recipe.cached_views or method.input not in KEPT:

        def train(some: Shots, options: loop.Options) -> Prompts:
            start = loop.init_prompts(method, task, some.seed)
            steps = draws.steps_per_epoch(len(some.items), recipe.batch_size)
            with contextlib.closing(some.batches(recipe.batch_size)) as batches:
                done = loop.fit(method, task, recipe, start, batches, steps, placement, options)
            return done.prompts

        prompts = train(shots, options)
        if not calibrate:
            return prompts, Calibration()
        again = loop.Options(rate, title=f"training {name} again, to calibrate")
        second = functools.partial(train, options=again)
        size = FEATURES_AT_ONCE[shots.inputs.kind]
        calibration = calibrate_again(method, task, shots, second, placement, size)
        print(f"{name}: {calibration}")
        return prompts, calibration
    features = shots.features(method, task, recipe.cached_views, placement)

    fit_part = functools.partial(
        fit_features, method, task, recipe, seed=shots.seed, placement=placement
    )
    captions = encode_captions(method, task, shots.paths)
    prompts = fit_part(features, shots.labels, *captions, options=options)
    quiet = loop.Options(rate, title="")
    folds = functools.partial(fit_part, options=quiet, place=placement.replicate)
    shots_of = features, shots.labels, *captions
    held_out = functools.cache(lambda: selection.hold_out_shots(folds, *shots_of))
    prompts, chosen = choose(name, method, prompts, task, held_out)
    if not (calibrate or (calibrate is None and chosen)):
        return prompts, Calibration()
    values, plain = chosen.get("values", ()), shots.plain_features(method, task, placement)
    folded = held_out(), values, plain, shots.labels
    calibration = confidence.of_folds(method, task, prompts, *folded)
    print(f"{name}: {calibration}")
    return prompts, calibration


def _refuse_calibration(name: str, calibrate: bool | None) -> bool:
    """Returns False for a method without labels; raises a PromptError if it shall calibrate."""
    if calibrate:
        raise PromptError(f"calibrate=True: {name} has no labels to choose a temperature on")
    return False


def _saving(resume_dir: str | os.PathLike, identity: dict[str, Any]) -> Saving:
    directory = pathlib.Path(resume_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PromptError(f"resume_dir={directory} cannot be created: {error.strerror}") from error
    written = json.loads(json.dumps(identity))
    return Saving(directory / "checkpoints", written, _refuse_other, CHECKPOINT_EVERY, "resume_dir")


def _refuse_other(directory: pathlib.Path, here: dict[str, Any], there: dict[str, Any]) -> None:
    other = sorted(name for name in {**here, **there} if here.get(name) != there.get(name))
    if other:
        field = other[0]
        raise PromptError(
            f"{directory} holds checkpoints of another training ({field}: {here.get(field)!r} "
            f"here, {there.get(field)!r} there); use another resume_dir, or delete that directory"
        )
