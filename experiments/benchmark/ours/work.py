"""Sets up this library's side of a cell: method, task, prompts and batches."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.scenes import CLASSES
from experiments.benchmark.cells import ACTIONS, PAIRS, Cell, captions, class_names
from experiments.benchmark.handover import Handover, feature_batch, image_batch
from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen, normalize, tokenizer
from prompt_jax.clip.packing import pack_captions
from prompt_jax.clip.vocabulary.captions import tokenize_captions
from prompt_jax.methods import Encoders, Method, Output, Prompts, Task
from prompt_jax.methods.method import cosine_logits
from prompt_jax.prompts import PHOTO, encode_classes, generate
from prompt_jax.text import class_texts


class Work(NamedTuple):
    """What a cell computes.

    Attributes:
        method, task, prompts: see `Method`.
        handover: inputs of the counterpart.
        batches: a batch per training run.
    """

    method: Method
    task: Task
    prompts: Prompts
    handover: Handover
    batches: list[dict[str, Any]]


def set_up(cell: Cell, clip: CLIP, frozen: Frozen) -> Work:
    """Returns the work of a cell, with initial prompts."""
    name, slots = cell.method, clip.config.context_length
    method = find(name)
    settings = method.Settings(**({"iterations": cell.N} if name == "pro_mpt" else {}))
    names = () if cell.pairs else class_names(cell.K, CLASSES)
    task = methods.make_task(
        method, clip, frozen, names, settings, texts=class_texts.stand_in(method.texts, names)
    )
    prompts = method.init(jax.random.key(0), task)
    batches = [_batch(cell, clip, run) for run in range(cell.runs)]
    texts: Sequence[Any] = names
    if cell.pairs:
        number = methods.get_encoders(name).text_prompts(settings)
        texts = tokenize_captions(captions(cell.batch, CLASSES), number, slots).tokens
        for batch in batches:
            batch["text"] = pack_captions(texts)
    handover = hand_over(name, clip, settings, prompts, texts)
    return Work(
        text_part(name) if cell.part == "text" else method, task, prompts, handover, batches
    )


def _batch(cell: Cell, clip: CLIP, run: int) -> dict[str, Any]:
    """Returns the batch of a training run; for the text part, with features as images."""
    images, labels = image_batch(cell, clip.config.image_size, run)
    if cell.part == "text":
        images = feature_batch(cell, clip.config.embed_dim, run)
    return {"image": jnp.asarray(images), "label": jnp.asarray(labels)}


def find(name: str) -> Method:
    """Returns the method of a cell, with an objective."""
    if name in PAIRS + ACTIONS:
        return _with_objective(name, methods.get_encoders(name))
    return methods.get(name)


def _with_objective(name: str, encoders: Encoders) -> Method:
    return (methods.retrieve if name in PAIRS else methods.recognize)(encoders)


def hand_over(
    name: str, clip: CLIP, settings: Any, prompts: Prompts, texts: Sequence[Any]
) -> Handover:
    """Returns the inputs of the counterpart for the same computation.

    `texts` are class names; for pairs the tokens that `tokenize_captions` returns.
    """
    slots, plain = clip.config.context_length, None
    if name in PAIRS:
        slots -= methods.get_encoders(name).text_prompts(settings)
        tokens = np.zeros((len(texts), slots), np.int32)
        for row, own in zip(tokens, texts, strict=True):
            row[: 1 + len(own)] = [tokenizer.SOS, *own]
    else:
        cleaned, template = [each.replace("_", " ") for each in texts], PHOTO
        if name in ACTIONS:
            words, template = methods.get_encoders(name).text_prompts(settings), settings.template
        else:
            words = len(prompts["context"])
        context = "a photo of a" if name == "maple" else " ".join(["X"] * words)
        tokens = tokenizer.tokenize([f"{context} {each}." for each in cleaned], slots)
        plain = tokenizer.tokenize([template.format(each) for each in cleaned], slots)
    arrays = flax.traverse_util.flatten_dict(prompts, sep="/")
    return Handover(
        name,
        dataclasses.asdict(clip.config),
        dataclasses.asdict(settings),
        tokens,
        plain,
        {path: np.array(array) for path, array in arrays.items()},
    )


def text_part(name: str) -> Method:
    """Returns the method on given image or video features, without the image tower."""
    if name in PAIRS + ACTIONS:
        encoders = methods.get_encoders(name)._replace(encode_videos=_take_features)
        return _with_objective(name, encoders)
    method = methods.get(name)
    forwards = {"maple": _maple_text, "pro_mpt": _pro_mpt_text}
    return method._replace(input="features", forward=forwards.get(name, method.forward))


def _take_features(prompts: Prompts, task: Task, features: jax.Array) -> jax.Array:
    del prompts, task
    return normalize(features)


def _maple_text(prompts: Prompts, prepared: Any, task: Task, features: jax.Array) -> Output:
    return Output(cosine_logits(task, normalize(features), prepared[0])[None])


def _pro_mpt_text(prompts: Prompts, prepared: Any, task: Task, features: jax.Array) -> Output:
    features, iterations = normalize(features), task.settings.iterations

    def iterate(context, _):
        context = generate(prompts["text_generator"], features)[:, None] + context
        classes = encode_classes(task.clip, task.frozen, task.names, context)
        return context, cosine_logits(task, features, normalize(classes))

    start = jnp.broadcast_to(prompts["context"], (len(features), *prompts["context"].shape))
    _, logits = jax.lax.scan(iterate, start, length=iterations)
    first = cosine_logits(task, features, normalize(task.constants))
    weights = (0.0,) + (1.0,) * iterations
    return Output(jnp.concatenate([first[None], logits]), weights=weights)
