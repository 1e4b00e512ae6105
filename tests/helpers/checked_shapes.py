"""Runs every method with its annotations checked; see `test_records`."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# An int is accepted as a float, as in mypy.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules["checked_shapes"] = sys.modules[__name__]  # where the import hook finds it
install_import_hook("prompt_jax.methods", "checked_shapes.check")

import action_rows  # noqa: E402
import rows  # noqa: E402
import video_rows  # noqa: E402
from reference import CLASSES, FROZEN, TINY, adapt  # noqa: E402

from prompt_jax import methods  # noqa: E402
from prompt_jax.clip.packing import PackedTokens, pack_captions  # noqa: E402
from prompt_jax.clip.vocabulary.captions import tokenize_captions  # noqa: E402
from prompt_jax.methods.selection import HeldOut  # noqa: E402
from prompt_jax.text import class_texts  # noqa: E402

SIZE, DIM = TINY.config.image_size, TINY.config.embed_dim
BATCH, VIEWS, SHOTS, FRAMES = 2, 2, 8, 3


def trace(method: methods.Method, kind: str, settings: Any, texts: PackedTokens | None) -> None:
    """Traces `make_task`, `init`, `prepare` and `forward`, without compiling them."""
    clip = methods.tower_for(method, TINY, kind)
    names = CLASSES if texts is None else ()
    axes = (video_rows.frames_of(method, settings, FRAMES),) if kind == "videos" else ()

    def run(rng, frozen, images, texts):
        task = methods.make_task(
            method, clip, frozen, names, settings, texts=class_texts.stand_in(method.texts, names)
        )
        prompts = method.init(rng, task)
        if method.adaptation:
            shots = jnp.zeros((VIEWS, SHOTS, DIM)), jnp.arange(SHOTS) % len(CLASSES)
            prompts = adapt(method, prompts, task, *shots)
        seen = methods.encode_input(method, task, images)
        x = seen if texts is None else methods.Pairs(seen, texts)
        return method.forward(prompts, method.prepare(prompts, task), task, x).logits

    images = jnp.zeros((BATCH, *axes, SIZE, SIZE, 3))
    jax.eval_shape(run, jax.random.key(0), FROZEN, images, texts)


def trace_image_methods() -> int:
    """Traces the image methods on images and on videos."""
    defaults = [(name, method.Settings()) for name, method in methods.METHODS.items()]
    every = [*defaults, *((row.method, row.settings) for row in rows.ROWS)]
    for name, settings in every:
        for kind in ("images", "videos"):
            trace(methods.get(name), kind, settings, None)
    return len(every)


def trace_video_methods() -> int:
    """Traces the methods of videos and texts, for retrieval and for recognition."""
    defaults = [(name, encoders.Settings()) for name, encoders in methods.ENCODERS.items()]
    others = [*video_rows.ROWS, *action_rows.ROWS]
    every = [*defaults, *((row.method, row.settings) for row in others)]
    for name, settings in every:
        encoders = methods.get_encoders(name)
        captions = ["a dog runs", "two cats"]
        tokens = tokenize_captions(captions, encoders.text_prompts(settings)).tokens
        trace(methods.retrieve(encoders), "videos", settings, pack_captions(tokens))
        trace(methods.recognize(encoders), "videos", settings, None)
    return len(every)


def choose_settings() -> int:
    """Chooses the settings of the methods that adapt to shots, on held-out images."""
    rng, found = np.random.default_rng(0), 0
    features = rng.normal(size=(VIEWS, SHOTS, DIM)).astype(np.float32)
    labels = np.arange(SHOTS) % len(CLASSES)
    for method in methods.METHODS.values():
        if method.adaptation:
            task = methods.make_task(
                method,
                TINY,
                FROZEN,
                CLASSES,
                method.Settings(),
                texts=class_texts.stand_in(method.texts, CLASSES),
            )
            prompts = adapt(method, {}, task, features, labels)
            method.adaptation.choose(prompts, task, [HeldOut(prompts, features, labels)])
            found += 1
    return found


if __name__ == "__main__":
    print(trace_image_methods(), trace_video_methods(), choose_settings())
