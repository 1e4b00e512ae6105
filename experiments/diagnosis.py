"""Measures the effect of ProMPT's untrained prompts on accuracy, attention and gradients.

    python -m experiments.diagnosis [--backbone embedded] [--out results/diagnosis]
    python -m experiments.diagnosis --backbone ViT-B/16.pt --domains plain,night

Nothing is trained. The initial vision prompts O⁰ are those of the paper ("normal"), or are centered
on each layer's patch tokens of an empty image ("grey"), which receive little attention. The images
are scenes of 30 classes, rendered at the backbone's size. Writes diagnosis.md, with the zero-shot
calibration. Takes three minutes on two cores for the embedded CLIP; ViT-B/16 needs a GPU.
"""

import sys

from experiments.cli import command_line

if __name__ == "__main__":  # before the slow imports below, so that Ctrl-C works during them
    sys.exit(command_line.run("experiments.diagnosis", "start", sys.argv[1:], command_line.RESUMES))

import functools
import pathlib
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data_pipelines import scenes
from experiments.figures import tables
from experiments.pretraining.calibration import loss_at, render_scenes, to_float
from experiments.record import workdir
from prompt_jax import methods
from prompt_jax.clip import CLIP, Frozen, loading, normalize
from prompt_jax.errors import PromptError, unknown
from prompt_jax.inputs.images.preprocessing import CLIP as CLIP_OWN
from prompt_jax.inputs.images.preprocessing import Preprocessing
from prompt_jax.methods.images import pro_mpt
from prompt_jax.methods.method import Task
from prompt_jax.models.loading import prepared_by

CLASSES, PER_CLASS = 30, 8
STREAM = 2_000_003  # seed of these scenes, not used by data sets or pretraining
PROMPTS = (1, 2, 4, 8)
STARTS = ("normal", "grey")
SEEDS = (1, 2, 3)
SCALES = tuple(range(5, 101, 5))
BATCH, BATCHES = 4, 12  # for gradients

METHOD = methods.get("pro_mpt")
Table = tuple[str, Sequence[str], list[tuple[str, ...]]]


def draw_images(
    domain: str, size: int, preprocessing: Preprocessing = CLIP_OWN
) -> tuple[jax.Array, jax.Array]:
    """Returns normalized images float32[N, size, size, 3] of a domain, and labels int[N]."""
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    images = jnp.asarray(render_scenes(domain, labels, STREAM, size))
    return to_float(images, preprocessing), jnp.asarray(labels)


@functools.partial(jax.jit, static_argnums=0)
def attention_to_prompts(
    clip: CLIP, frozen: Frozen, images: jax.Array, prompts: jax.Array
) -> jax.Array:
    """Returns the share of the class token's attention on prompt slots, float[layers].

    Args:
        clip, frozen: the backbone.
        images: float[B, H, W, 3].
        prompts: float[J, a, d_v], inserted after the patches before layers 0 to J - 1, as in
            ProMPT; later layers keep the slots.

    Returns:
        Means over images and heads, from 0 to 1.
    """
    patches = 1 + clip.config.patches
    tokens = clip.embed_image(frozen, images)
    shares: list[jax.Array] = []
    for layer in range(clip.config.image_layers):
        if layer < len(prompts):
            own = jnp.broadcast_to(prompts[layer], (len(images), *prompts.shape[1:]))
            tokens = jnp.concatenate([tokens[:, :patches], own], axis=1)
        weights = clip.image_layers(frozen)[layer].class_attention(tokens)
        shares.append(jnp.mean(jnp.sum(weights[..., patches:], axis=-1)))
        tokens = clip.image_block(frozen, layer, tokens)
    return jnp.stack(shares)


def make_task(clip: CLIP, frozen: Frozen, number: int = 8) -> Task:
    """Returns ProMPT's task with `number` vision prompts in three quarters of the layers."""
    depth = -(-3 * clip.config.image_layers // 4)
    settings = pro_mpt.Settings(vision_prompts=number, vision_depth=depth)
    return methods.make_task(METHOD, clip, frozen, scenes.CLASSES[:CLASSES], settings)


def grey_tokens(clip: CLIP, frozen: Frozen, depth: int) -> jax.Array:
    """Returns the mean patch token of a mean-color image before each layer, float[depth, d_v]."""
    size = clip.config.image_size
    tokens = clip.embed_image(frozen, jnp.zeros((1, size, size, 3)))
    found = []
    for layer in range(depth):
        found.append(jnp.mean(tokens[0, 1:], axis=0))
        tokens = clip.image_block(frozen, layer, tokens)
    return jnp.stack(found)


def init(task: Task, start: str, rng: jax.Array) -> dict:
    """Returns untrained prompts with the initialization `start` of O⁰."""
    prompts = METHOD.init(rng, task)
    if start == "grey":
        around = grey_tokens(task.clip, task.frozen, len(prompts["vision"]))
        prompts["vision"] += around[:, None]
    return prompts


def accuracies(task: Task, start: str, images: jax.Array, labels: jax.Array) -> np.ndarray:
    """Returns the untrained accuracy of p⁰, p¹, … in percent, float[1 + N], mean over seeds."""
    hits = [_hits(task, start, images, labels, jax.random.key(seed)) for seed in SEEDS]
    return 100 * np.mean(hits, axis=0)


@functools.partial(jax.jit, static_argnums=1)
def _hits(task, start, images, labels, rng):
    prompts = init(task, start, rng)
    output = METHOD.forward(prompts, METHOD.prepare(prompts, task), task, images)
    return jnp.mean(jnp.argmax(output.logits, axis=-1) == labels, axis=-1)


def gradient_norms(
    task: Task, start: str, images: jax.Array, labels: jax.Array, iteration: int
) -> tuple[float, dict[str, float]]:
    """Returns the loss of one iteration's prediction, and gradient norms per part of the prompts.

    The values are medians over batches of four images, each with newly drawn prompts.
    """
    rngs = [jax.random.key(number) for number in range(BATCHES)]
    found = [_loss_and_norms(task, start, images, labels, rng, iteration) for rng in rngs]
    return jax.tree.map(lambda *values: float(np.median(values)), *found)


@functools.partial(jax.jit, static_argnums=(1, 5))
def _loss_and_norms(task, start, images, labels, rng, iteration):
    prompts_rng, batch_rng = jax.random.split(rng)
    chosen = jax.random.choice(batch_rng, len(images), (BATCH,), replace=False)

    def loss(prompts):
        prepared = METHOD.prepare(prompts, task)
        logits = METHOD.forward(prompts, prepared, task, images[chosen]).logits[iteration]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels[chosen]))

    value, gradients = jax.value_and_grad(loss)(init(task, start, prompts_rng))
    return value, {part: optax.tree.norm(of_part) for part, of_part in gradients.items()}


def calibration(task: Task, images: jax.Array, labels: jax.Array) -> dict[str, float]:
    """Returns statistics of zero-shot cosines, and the best logit scale for these images."""
    features = normalize(jax.jit(task.clip.encode_image)(task.frozen, images))
    cosines = features @ normalize(task.constants).T
    own = jnp.take_along_axis(cosines, labels[:, None], axis=1)

    trained = float(jnp.exp(task.frozen["logit_scale"]))
    best = min(SCALES, key=lambda scale: loss_at(scale, cosines, labels))
    return {
        "own": float(jnp.mean(own)),
        "spread": float(jnp.mean(jnp.std(cosines, axis=1))),
        "scale": trained,
        "loss": loss_at(trained, cosines, labels),
        "best": best,
        "best loss": loss_at(best, cosines, labels),
    }


def costs(clip: CLIP, frozen: Frozen, domains: dict) -> Table:
    """Returns a table of p⁰ and p¹ by number of prompts, with the attention on O⁰."""
    rows = []
    for domain, (images, labels) in domains.items():
        for start in STARTS:
            cells = []
            for number in PROMPTS:
                task = make_task(clip, frozen, number)
                first, then, *_ = accuracies(task, start, images, labels)
                vision = init(task, start, jax.random.key(SEEDS[0]))["vision"]
                shares = attention_to_prompts(clip, frozen, images, vision)[: len(vision)]
                cells.append(f"{then:.1f} ({100 * float(jnp.mean(shares)):.0f} %)")
            rows.append((domain, start, f"{first:.1f}", *cells))
    headers = ("domain", "O⁰", "p⁰", *(f"p¹, a={number}" for number in PROMPTS))
    return "Accuracy in %, untrained (class token's attention to prompts)", headers, rows


def gradients(clip: CLIP, frozen: Frozen, domains: dict) -> Table:
    """Returns a table of loss and gradient norms per iteration."""
    rows, parts = [], ("context", "text_generator", "vision", "vision_generator")
    for domain, (images, labels) in domains.items():
        for start in STARTS:
            task = make_task(clip, frozen)
            for iteration in range(1, task.settings.iterations + 1):
                loss, norms = gradient_norms(task, start, images, labels, iteration)
                cells = [f"{norms[part]:.2f}" for part in parts]
                rows.append((domain, start, f"p{iteration}", f"{loss:.2f}", *cells))
    return "Loss and gradient norms at the start, a=8", ("domain", "O⁰", "of", "loss", *parts), rows


def calibrations(clip: CLIP, frozen: Frozen, domains: dict) -> Table:
    """Returns a table of the trained and the best logit scale per domain."""
    task, rows = make_task(clip, frozen), []
    for domain, (images, labels) in domains.items():
        found = calibration(task, images, labels)
        rows.append((domain, *(f"{value:.3g}" for value in found.values())))
    headers = ("domain", "cosine of own class", "spread over classes", "trained scale", "its loss",
               "best scale", "its loss")  # fmt: skip
    return "Zero-shot calibration", headers, rows


MEASUREMENTS: tuple[Callable[[CLIP, Frozen, dict], Table], ...] = (costs, gradients, calibrations)


def page(backbone: str, found: Iterable[Table]) -> str:
    """Returns all tables as Markdown."""
    parts = [tables.heading(f"Effect of untrained prompts on {backbone}", 1)]
    parts[0] += f"Commit {workdir.git_commit()}.\n"
    parts += [
        tables.heading(name, 2) + tables.markdown(headers, rows) for name, headers, rows in found
    ]
    return "\n".join(parts)


def start(argv: list[str]) -> None:
    """Parses the arguments, measures and writes the page.

    Raises:
        PromptError: a domain or backbone is unknown, or the output file exists.
    """
    parser = command_line.make_parser("experiments.diagnosis", __doc__)
    parser.add_argument("--backbone", default="embedded", help="a name or the path of a checkpoint")
    parser.add_argument("--domains", default=",".join(scenes.DOMAINS), help="all by default")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/diagnosis"))
    options = parser.parse_args(argv)
    domains = options.domains.split(",")
    for domain in domains:
        if domain not in scenes.DOMAINS:
            raise unknown("domain", domain, scenes.DOMAINS)
    file = options.out / "diagnosis.md"
    if file.exists():
        raise PromptError(f"{file} already exists; delete it or choose another --out")
    command_line.prepare_jax()
    sizes, frozen = loading.load(options.backbone)
    clip = CLIP(sizes)
    size = sizes.image_size
    prepared, notes = prepared_by(options.backbone, size, {})
    for note in notes:
        print(f"note: {note}")
    images = {domain: draw_images(domain, size, prepared) for domain in domains}
    found = [measure(clip, frozen, images) for measure in MEASUREMENTS]
    text = page(options.backbone, found)
    workdir.make_workdir(options.out)
    file.write_text(text, encoding="utf-8")
    print(f"{text}\nwritten to {file}")
