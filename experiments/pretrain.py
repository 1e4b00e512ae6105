"""Trains the embedded CLIP from scratch on rendered scenes.

    python -m experiments.pretrain --workdir=DIR --steps=3800 --export=prompt_jax/clip/embedded

The loss is symmetric and contrastive; pairs with the same meaning in a batch are not negatives. The
optimizer is AdamW with a warm-up, a constant rate, and a linear decay over the last quarter. Until
the decay, the image tower sees a random half of the patches, at less than half the cost (FLIP, CVPR
2023, section 3). During the decay, half of the images belong to shifted domains.

Then only the text tower is trained further, on captions after filler words, because prompts shift a
text to slots that short captions never reach. Half of these captions describe single video frames,
because web captions of still images also name actions. Finally, the logit scale is calibrated on
shifted domains.

Batch s holds scenes s·B to s·B + B - 1 of an endless, seeded stream. So a run resumes exactly from
its workdir, and --steps can be increased until the decay begins.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.pretrain", "main", sys.argv[1:], command_line.RESUMES))

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
from experiments.pretraining.captioned import IMAGE_SIZE, Settings, batches, fits
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
    """Keeps the class token and `kept` random patches of each image: float[B, 1 + kept, d_v]."""
    rank = jnp.argsort(jax.random.uniform(rng, (len(tokens), tokens.shape[1] - 1)), axis=1)
    patches = jnp.take_along_axis(tokens[:, 1:], rank[:, :kept, None], axis=1)
    return jnp.concatenate([tokens[:, :1], patches], axis=1)


def contrastive_loss(params, clip, batch, kept, rng):
    """Returns the symmetric cross-entropy over the batch, and the share of correct matches."""
    tokens = clip.embed_image(params, to_float(batch["image"]))
    images = normalize(clip.encode_tokens(params, drop_patches(tokens, kept, rng)))
    texts = normalize(clip.encode_text(params, batch["tokens"]))
    logits = jnp.exp(jnp.minimum(params["logit_scale"], MAX_LOGIT_SCALE)) * images @ texts.T
    same = fits(batch["label"], batch["action"])
    diagonal = jnp.eye(len(same), dtype=bool)
    logits = jnp.where(same & ~diagonal, -jnp.inf, logits)
    own = jnp.diagonal(logits)
    to_text = jax.nn.logsumexp(logits, axis=1) - own
    to_image = jax.nn.logsumexp(logits, axis=0) - own
    hits = jnp.mean(jnp.argmax(logits, axis=1) == jnp.arange(len(logits)))
    return jnp.mean(to_text + to_image) / 2, hits


def optimizer(settings: Settings) -> optax.GradientTransformation:
    """Returns AdamW with weight decay on matrices only; rare rows of the token table would fade."""
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
    """Trains from the newest checkpoint to the last step; returns the model and parameters."""
    clip = CLIP(CONFIG)
    params = jax.jit(clip.init)(jax.random.key(settings.seed))
    tx = optimizer(settings)
    state = {"params": params, "opt": tx.init(params)}
    checkpoints = Checkpoints(workdir / "checkpoints")
    start = checkpoints.latest() or 0
    if start:
        state, _ = checkpoints.restore(start, state)
        logging.info("resuming from step %d", start)

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
    """Trains the text tower further on captions at later slots; returns all parameters."""
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
    """Trains, evaluates and, with --export, exports the model."""
    options = parse(argv)
    settings = Settings(*(getattr(options, name) for name in Settings._fields))
    workdir: pathlib.Path = options.workdir
    logging.set_verbosity(logging.INFO)
    command_line.prepare_jax()
    workdir.mkdir(parents=True, exist_ok=True)
    clip, params = train(settings, workdir)
    params = calibrate(clip, train_text(settings, clip, params))
    logging.info("logit scale: %g", np.exp(params["logit_scale"]))
    accuracy = zero_shot_accuracy(clip, params, per_class=10)
    logging.info("zero-shot accuracy over %d classes: %s", len(scenes.CLASSES), accuracy)
    (workdir / "accuracy.json").write_text(json.dumps(accuracy, indent=1))
    if options.export:
        export(params, options.export)


def export(params: Frozen, folder: str | os.PathLike) -> None:
    """Writes the trained weights in the format of transformers, float16; overwrites files."""
    arrays = jax.tree.map(np.asarray, params)
    saving.save_hugging_face(CONFIG, arrays, pathlib.Path(folder), "float16", overwrite=True)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the command line."""
    start = Settings()
    parser = command_line.make_parser("experiments.pretrain", __doc__)
    parser.add_argument(
        "--workdir", type=pathlib.Path, required=True, help="directory for checkpoints and metrics"
    )
    for name, meaning in {
        "steps": "total training steps",
        "batch_size": "images per step",
        "learning_rate": "peak learning rate",
        "seed": "seed of parameters and scenes",
        "shifted": "share of images from the shifted domains until the decay begins",
        "shifted_late": "share of images from the shifted domains during the decay",
        "text_steps": "further steps of the text tower only",
        "patches": "patches that the image tower sees until the decay begins",
    }.items():
        value = getattr(start, name)
        parser.add_argument(
            f"--{name}", type=type(value), default=value, help=f"{meaning} ({value})"
        )
    parser.add_argument("--export", help="output directory for the trained weights (float16)")
    return parser.parse_args(argv)
