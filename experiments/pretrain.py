"""Trains the embedded CLIP on rendered scenes, from nothing.

    python -m experiments.pretrain --workdir=DIR --steps=3800 --export=prompt_jax/clip/embedded

Symmetric contrastive loss (pairs that say the same in a batch are not negatives), AdamW, constant
rate after a warm-up, linear decay over the last quarter; until that decay the image tower sees half
of each image's patches, drawn at random, at less than half the cost (FLIP, CVPR 2023, section 3);
during the decay half of the images are of shifted domains. Then the text tower alone goes on, on
captions behind words that say nothing: prompts push a text to slots that short captions never
reach. Half of these are of single frames of videos, since a CLIP has read of what things do beside
still images of it. At the end the scale of logits is calibrated on shifted domains.

Batch s holds scenes s·B … s·B + B - 1 of one endless, seeded stream, so a run that is started again
on its workdir goes on as if it had not stopped, and more steps may be asked for until the decay
begins.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the imports below, so that Ctrl-C is heard while they run
    sys.exit(command_line.run("experiments.pretrain", "main", sys.argv[1:]))

import argparse
import functools
import json
import os
import pathlib
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from data_pipelines import scenes
from experiments.pretraining.calibration import calibrate, to_float, zero_shot_accuracy
from experiments.pretraining.captioned import IMAGE_SIZE, Settings, batches, same_said
from prompt_jax.clip import CLIP, CLIPConfig, Frozen, normalize, saving
from prompt_jax.errors import PromptError
from prompt_jax.training.checkpoint import Checkpoints
from prompt_jax.training.train import all_finite

CONFIG = CLIPConfig(
    image_size=IMAGE_SIZE,
    patch_size=6,
    image_width=128,
    image_layers=6,
    image_heads=4,
    image_mlp=512,
    text_width=96,
    text_layers=3,
    text_heads=3,
    text_mlp=384,
    embed_dim=128,
)
WARMUP_STEPS = 200
LOG_EVERY, SAVE_EVERY, EVALUATE_EVERY = 50, 250, 500
MAX_LOGIT_SCALE = np.log(100.0)


def drop_patches(tokens: jax.Array, kept: int, rng: jax.Array) -> jax.Array:
    """The class token and `kept` random patches of each image: float[B, 1 + kept, d_v]."""
    rank = jnp.argsort(jax.random.uniform(rng, (len(tokens), tokens.shape[1] - 1)), axis=1)
    patches = jnp.take_along_axis(tokens[:, 1:], rank[:, :kept, None], axis=1)
    return jnp.concatenate([tokens[:, :1], patches], axis=1)


def contrastive_loss(params, clip, batch, kept, rng):
    """Symmetric cross-entropy over the batch; returns the loss and the share of right matches."""
    tokens = clip.embed_image(params, to_float(batch["image"]))
    images = normalize(clip.encode_tokens(params, drop_patches(tokens, kept, rng)))
    texts = normalize(clip.encode_text(params, batch["tokens"]))
    logits = jnp.exp(jnp.minimum(params["logit_scale"], MAX_LOGIT_SCALE)) * images @ texts.T
    same = same_said(batch["label"], batch["action"])
    diagonal = jnp.eye(len(same), dtype=bool)
    logits = jnp.where(same & ~diagonal, -jnp.inf, logits)
    own = jnp.diagonal(logits)
    to_text = jax.nn.logsumexp(logits, axis=1) - own
    to_image = jax.nn.logsumexp(logits, axis=0) - own
    hits = jnp.mean(jnp.argmax(logits, axis=1) == jnp.arange(len(logits)))
    return jnp.mean(to_text + to_image) / 2, hits


def optimizer(settings: Settings) -> optax.GradientTransformation:
    """AdamW; only matrices decay, the token table does not (rare rows would fade)."""
    rate = settings.learning_rate
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, rate, WARMUP_STEPS),
            optax.constant_schedule(rate),
            optax.linear_schedule(rate, 0.0, settings.steps - settings.decay),
        ],
        [WARMUP_STEPS, settings.decay],
    )

    def decays(params):
        return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(schedule, b2=0.98, weight_decay=0.05, mask=decays),
    )


def train(settings: Settings, workdir: pathlib.Path) -> tuple[CLIP, Frozen]:
    """Trains to the last step, from the newest checkpoint; returns the model and parameters."""
    clip = CLIP(CONFIG)
    params = jax.jit(clip.init)(jax.random.key(settings.seed))
    tx = optimizer(settings)
    state = {"params": params, "opt": tx.init(params)}
    checkpoints = Checkpoints(workdir / "checkpoints")
    start = checkpoints.latest() or 0
    if start:
        state, _ = checkpoints.restore(start, state)
        logging.info("going on from step %d", start)

    @functools.partial(jax.jit, static_argnums=2)
    def step_fn(state, batch, kept, rng):
        gradient_fn = jax.value_and_grad(contrastive_loss, has_aux=True)
        (loss, hits), gradients = gradient_fn(state["params"], clip, batch, kept, rng)
        updates, opt = tx.update(gradients, state["opt"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "opt": opt}, loss, hits

    dropping = jax.random.key(settings.seed)
    losses, began = [], time.perf_counter()
    for step, batch in enumerate(batches(settings, start, settings.steps), start + 1):
        kept = settings.patches if step <= settings.decay else CONFIG.patches
        state, loss, hits = step_fn(state, batch, kept, jax.random.fold_in(dropping, step))
        losses.append(loss)
        if step % LOG_EVERY == 0 or step == settings.steps:
            rate = len(losses) * settings.batch_size / (time.perf_counter() - began)
            line = {"step": step, "loss": float(np.mean(losses)), "hits": float(hits), "rate": rate}
            if step % EVALUATE_EVERY == 0:
                line |= zero_shot_accuracy(clip, state["params"])
            logging.info("%s", line)
            with (workdir / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            losses, began = [], time.perf_counter()
        if step % SAVE_EVERY == 0 or step == settings.steps:
            if not all_finite(state):
                raise PromptError(f"pretraining diverged by step {step}; lower --learning_rate")
            checkpoints.save(step, state, settings._asdict())
    checkpoints.close()
    return clip, state["params"]


def train_text(settings: Settings, clip: CLIP, params: Frozen) -> Frozen:
    """Parameters whose text tower knows captions at later slots; the image tower stays."""
    rate = optax.cosine_decay_schedule(settings.learning_rate / 2, max(1, settings.text_steps))
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b2=0.98))
    trained = {name: params[name] for name in ("text", "logit_scale")}

    @jax.jit
    def step_fn(trained, opt, frozen, batch):
        def loss(trained):
            every = CONFIG.patches
            return contrastive_loss(frozen | trained, clip, batch, every, jax.random.key(0))[0]

        value, gradients = jax.value_and_grad(loss)(trained)
        updates, opt = tx.update(gradients, opt)
        return optax.apply_updates(trained, updates), opt, value

    opt, stop = tx.init(trained), settings.steps + settings.text_steps
    for step, batch in enumerate(batches(settings, settings.steps, stop, long=True), 1):
        trained, opt, loss = step_fn(trained, opt, {"image": params["image"]}, batch)
        if step % LOG_EVERY == 0:
            logging.info("text tower, step %d of %d: %.3f", step, settings.text_steps, loss)
    if not all_finite(trained):
        raise PromptError("pretraining of the text tower diverged; lower --learning_rate")
    return params | trained


def main(argv: Sequence[str]) -> None:
    """Trains, evaluates, and exports if asked to."""
    options = parse(argv)
    settings = Settings(*(getattr(options, name) for name in Settings._fields))
    workdir: pathlib.Path = options.workdir
    logging.set_verbosity(logging.INFO)
    command_line.prepare_jax()
    workdir.mkdir(parents=True, exist_ok=True)
    clip, params = train(settings, workdir)
    params = calibrate(clip, train_text(settings, clip, params))
    logging.info("scale of logits: %g", np.exp(params["logit_scale"]))
    accuracy = zero_shot_accuracy(clip, params, per_class=10)
    logging.info("zero-shot accuracy over %d classes: %s", len(scenes.CLASSES), accuracy)
    (workdir / "accuracy.json").write_text(json.dumps(accuracy, indent=1))
    if options.export:
        export(params, options.export)


def export(params: Frozen, folder: str | os.PathLike) -> None:
    """Writes the trained weights, float16, as transformers reads them; replaces earlier ones."""
    arrays = jax.tree.map(np.asarray, params)
    saving.save_hugging_face(CONFIG, arrays, pathlib.Path(folder), "float16", overwrite=True)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    start = Settings()
    parser = argparse.ArgumentParser("python -m experiments.pretrain", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--workdir", type=pathlib.Path, required=True, help="folder for checkpoints and metrics"
    )
    for name, meaning in {
        "steps": "training steps in all",
        "batch_size": "images a step",
        "learning_rate": "peak learning rate",
        "seed": "of parameters and scenes",
        "shifted": "share of images from the shifted domains until the decay begins",
        "shifted_late": "the same from then on",
        "text_steps": "further steps of the text tower alone",
        "patches": "patches that the image tower sees until the decay begins",
    }.items():
        value = getattr(start, name)
        parser.add_argument(
            f"--{name}", type=type(value), default=value, help=f"{meaning} ({value})"
        )
    parser.add_argument("--export", help="folder that receives the trained weights (float16)")
    return parser.parse_args(argv)
