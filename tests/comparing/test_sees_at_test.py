"""Predictions depend on the other test images exactly where the method's record says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import video_rows
from reference import CLASSES, FROZEN, TINY, adapt

from prompt_jax import methods
from prompt_jax.text import class_texts

SIZE, DIM = TINY.config.image_size, TINY.config.embed_dim
SHOTS, FRAMES = 12, 4
# Settings with which a prediction depends on what the record says; the defaults need not.
GIVEN = {"caps_adapter": {"alpha": 1.0, "beta": 5.5, "gamma": 1.0, "delta": 0.5}}
EVERY = [(kind, name) for kind, records in methods.RECORDS.items() for name in records]


def logits_of(kind, name):
    """Returns the function from images or videos to the logits of a method with random prompts."""
    record = methods.RECORDS[kind][name]
    method = record.method
    if kind == "videos":
        method = methods.recognize(method)
    settings = method.Settings(**GIVEN.get(name, {}))
    texts = class_texts.stand_in(method.texts, CLASSES)
    task = methods.make_task(method, TINY, FROZEN, CLASSES, settings, texts=texts)
    rng = np.random.default_rng(0)
    prompts = method.init(jax.random.key(0), task)
    if method.adaptation:
        features = rng.normal(size=(1, SHOTS, DIM)).astype(np.float32)
        prompts = adapt(method, prompts, task, features, np.arange(SHOTS) % len(CLASSES))
    else:  # what starts at zero would hide a dependence
        prompts = jax.tree.map(
            lambda x: x + 0.02 * rng.normal(size=x.shape).astype(np.float32), prompts
        )

    @jax.jit
    def run(inputs):
        seen = methods.encode_input(method, task, inputs)
        return method.forward(prompts, method.prepare(prompts, task), task, seen).logits[-1]

    frames = video_rows.frames_of(method, settings, FRAMES) if kind == "videos" else ()
    return run, (frames,) if kind == "videos" else ()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), EVERY, ids=[f"{kind}-{name}" for kind, name in EVERY])
def test_a_prediction_depends_on_what_the_record_says(kind, name):
    run, axes = logits_of(kind, name)
    draws = np.random.default_rng(1).normal(size=(5, *axes, SIZE, SIZE, 3)).astype(np.float32)
    one, others = run(draws[[0, 1, 2]])[0], run(draws[[0, 3, 4]])[0]
    moved = float(jnp.max(jnp.abs(one - others)))
    if methods.RECORDS[kind][name].sees_at_test == "a batch":
        assert moved > 1e-3
    else:
        assert moved <= 1e-5 * max(1.0, float(jnp.max(jnp.abs(one))))
    assert float(jnp.max(jnp.abs(one - run(draws[[3, 1, 2]])[0]))) > 1e-4
