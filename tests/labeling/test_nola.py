"""NoLA equals the published code in each of its stages."""

import dataclasses
import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import (
    BATCH,
    CLASSES,
    FIGURES,
    FOLDER,
    FROZEN,
    TEXTS,
    TINY,
    largest_difference,
    relative_difference,
)

from prompt_jax import methods
from prompt_jax.clip import CLIP, VARIANTS
from prompt_jax.clip.checkpoints.layouts import openai_layout
from prompt_jax.errors import PromptError
from prompt_jax.methods import Views
from prompt_jax.methods.images import nola
from prompt_jax.text import text_files
from prompt_jax.text.class_texts import CLASSES as OF_CLASSES
from prompt_jax.training import recipes, train
from prompt_jax.vit import ViT, loading

EXPECTED = FIGURES["nola"]
PATHS = {name: leaf.path.split("/") for leaf in openai_layout(3, 4) for name in leaf.names}
TEMPLATES = ("a photo of a {}.", "itap of a {}.")


@functools.cache
def task():
    """Returns the task of the figures."""
    settings = nola.Settings(vision_prompts=5, templates=TEMPLATES)
    texts = text_files.from_content(TEXTS["biomedcoop"], OF_CLASSES)
    return methods.make_task(nola.METHOD, TINY, FROZEN, CLASSES, settings, texts=texts)


def student(kind):
    """Returns "param", "grad" or "adamw3" of the student by our names."""
    norms = {
        tuple(PATHS[key.removeprefix(f"{kind}.")]): jnp.asarray(array)
        for key, array in EXPECTED.items()
        if key.startswith(f"{kind}.visual")
    }
    return {
        "prompts": jnp.asarray(EXPECTED[f"{kind}.prompts"]),
        "norms": flax.traverse_util.unflatten_dict(norms),
        "classifier": jnp.asarray(EXPECTED[f"{kind}.classifier"]),
    }


def labeler(kind):
    """Returns "param", "grad" or "adam3" of the labeling network by our names."""
    return {
        f"linear{i}": {
            "kernel": jnp.asarray(EXPECTED[f"{kind}.h.fc{i}_weight"]).T,
            "bias": jnp.asarray(EXPECTED[f"{kind}.h.fc{i}_bias"]),
        }
        for i in (1, 2)
    }


def movements(found, expected, start):
    """Returns the largest difference of movements, and of their root mean squares, per array."""
    worst, mean = 0.0, 0.0
    trees = (jax.tree.leaves(tree) for tree in (found, expected, start))
    for ours, theirs, before in zip(*trees, strict=True):
        off = np.abs(ours - theirs) / np.abs(theirs - before).max()
        worst, mean = max(worst, off.max()), max(mean, np.sqrt(np.mean(off**2)))
    return worst, mean


def test_text_classifier_is_the_mean_of_sentences_and_templates():
    assert largest_difference(task().constants, EXPECTED["text_classifier"]) <= 1e-5
    start = nola.init(jax.random.key(0), task())
    assert relative_difference(start["norms"], student("param")["norms"]) == 0
    assert largest_difference(start["classifier"], EXPECTED["text_classifier"]) <= 1e-5
    bound = (6 / (3 * 8**2 + 64)) ** 0.5
    assert 0.9 * bound < np.abs(start["prompts"]).max() <= bound


def test_probabilities_equal_the_published_ones():
    inputs, clips = FIGURES["inputs"], np.load(FOLDER / "clips.npz")["inputs/clips"]
    images = np.concatenate([inputs["images"], inputs["shot_images"], clips.reshape(-1, 32, 32, 3)])
    features = TINY.encode_image(FROZEN, jnp.asarray(images))
    found = nola.classify(np.asarray(features), task())
    assert np.abs(found - EXPECTED["pool.probs"]).max() <= 1e-4


def test_selected_images_equal_the_published_ones():
    images, labels, without = nola.select(EXPECTED["select.probs"], int(EXPECTED["select.k"]))
    assert images.tolist() == EXPECTED["select.index"].tolist()
    assert labels.tolist() == EXPECTED["select.label"].tolist()
    assert without == []


def test_a_class_in_nobody_s_first_three_choices_is_left_out():
    probabilities = np.zeros((5, 6), np.float32)
    probabilities[:, :4] = [0.4, 0.3, 0.2, 0.1]
    images, labels, without = nola.select(probabilities, 2)
    assert without == [3, 4, 5]
    # Classes 1 and 2 take the same images as class 0, which has them already.
    assert (images.tolist(), labels.tolist()) == ([0, 1], [0, 0])


def test_labeling_network_equals_the_published_one():
    features, labels = EXPECTED["h.dino_features"], EXPECTED["h.labels"]
    network = start = labeler("param")
    assert np.abs(nola.label_logits(network, features) - EXPECTED["h.logits"]).max() <= 1e-4
    with np.load(FOLDER / "dino.npz") as arrays:
        tower = loading.build({n: np.asarray(arrays[n], np.float32) for n in arrays}, FOLDER)
    second = ViT(tower.config).encode_image(tower.frozen, BATCH["image"])
    teacher = nola.label_logits(network, second)
    assert np.abs(teacher - EXPECTED["teacher_logits"]).max() <= 1e-4
    assert jnp.argmax(teacher, axis=-1).tolist() == EXPECTED["pseudo_labels"].tolist()
    optimizer = optax.adam(1e-3)
    state = optimizer.init(network)
    for step in range(3):
        loss, gradients = jax.value_and_grad(nola.label_loss)(network, features, labels)
        assert float(loss) == pytest.approx(EXPECTED["h.adam_losses"][step], abs=1e-5)
        if step == 0:
            assert relative_difference(gradients, labeler("grad")) <= 1e-4
        updates, state = optimizer.update(gradients, state, network)
        network = optax.apply_updates(network, updates)
    assert max(movements(network, labeler("adam3"), start)) <= 1e-3
    after = nola.label_loss(network, features, labels)
    assert float(after) == pytest.approx(EXPECTED["h.adam_loss_after"], abs=1e-5)


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scan"])
def test_student_equals_the_published_one(scan):
    clip = dataclasses.replace(TINY, scan_layers=scan)
    made = dataclasses.replace(task(), clip=clip, frozen=clip.arrange(FROZEN))
    prompts = start = student("param")
    batch = {"image": EXPECTED["views"][:, None], "label": jnp.asarray(EXPECTED["pseudo_labels"])}
    recipe = nola.RECORD.recipes["unlabeled"]
    optimizer = recipes.build_optimizer(recipe, nola.METHOD, prompts, made.settings, 3)
    state = optimizer.init(prompts)

    @jax.jit
    def run(prompts):
        loss = functools.partial(train.loss_and_output, nola.METHOD, task=made, batch=batch)
        return jax.value_and_grad(loss, has_aux=True)(prompts)

    features = nola.encode(prompts, made, jnp.asarray(EXPECTED["views"]))
    assert np.abs(features - EXPECTED["image_features"]).max() <= 1e-4
    tested = nola.forward(prompts, None, made, BATCH["image"]).logits[0]
    assert np.abs(tested - EXPECTED["test_logits"]).max() <= 1e-4
    for step in range(3):
        (loss, output), gradients = run(prompts)
        assert float(loss) == pytest.approx(EXPECTED["adamw_losses"][step], abs=3e-5)
        if step == 0:
            assert float(loss) == pytest.approx(float(EXPECTED["loss"]), abs=1e-5)
            assert np.abs(output.logits[0] - EXPECTED["logits"]).max() <= 1e-4
            assert relative_difference(gradients, student("grad")) <= 1e-4
        updates, state = optimizer.update(gradients, state, prompts)
        prompts = optax.apply_updates(prompts, updates)
    worst, mean = movements(prompts, student("adamw3"), start)
    assert worst <= 1e-3
    assert mean <= 1e-4
    assert float(run(prompts)[0][0]) == pytest.approx(float(EXPECTED["adamw_loss_after"]), abs=3e-5)


def test_biases_do_not_decay_and_everything_else_does():
    prompts = student("param")
    still = jax.tree.map(jnp.zeros_like, prompts)
    recipe = nola.RECORD.recipes["unlabeled"]
    optimizer = recipes.build_optimizer(recipe, nola.METHOD, prompts, task().settings, 3)
    updates, _ = optimizer.update(still, optimizer.init(prompts), prompts)
    flat = flax.traverse_util.flatten_dict(updates)
    moved = {path: bool(np.abs(x).max() > 0) for path, x in flat.items()}
    assert moved == {path: path[-1] != "bias" for path in flat}


def test_label_smoothing_equals_optax():
    logits = np.random.default_rng(0).standard_normal((4, 6), np.float32)
    labels = np.array([0, 2, 4, 5])
    even = -jnp.mean(jax.nn.log_softmax(logits))
    output = methods.Output(logits[None], (0.9,), {"smoothing": 0.1 * even})
    smooth = optax.smooth_labels(jax.nn.one_hot(labels, 6), 0.1)
    expected = jnp.mean(optax.softmax_cross_entropy(logits, smooth))
    assert float(train.loss_of(output, labels)) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(("given", "prompts"), [(16, 12_288), (50, 38_400)])
def test_parameter_counts_on_vit_b16(given, prompts):
    clip, classes = CLIP(VARIANTS["ViT-B/16"]), 10

    def init(rng):
        made = dataclasses.replace(
            task(),
            clip=clip,
            frozen=clip.init(rng),
            settings=nola.Settings(vision_prompts=given),
            constants=jnp.zeros((classes, 512)),
        )
        return nola.init(rng, made)

    found = jax.eval_shape(init, jax.random.key(0))
    sizes = {name: sum(x.size for x in jax.tree.leaves(found[name])) for name in found}
    assert sizes == {"prompts": prompts, "norms": 39_936, "classifier": classes * 512}
    network = jax.eval_shape(
        lambda rng: nola.init_labeler(rng, 768, 256, classes), jax.random.key(0)
    )
    assert sum(x.size for x in jax.tree.leaves(network)) == 196_864 + 257 * classes


def test_training_takes_one_view_and_testing_none():
    prompts = student("param")
    one = nola.forward(prompts, None, task(), Views(BATCH["image"][:, None])).logits
    assert largest_difference(one, nola.forward(prompts, None, task(), BATCH["image"]).logits) == 0


def test_labels_do_not_depend_on_the_order_of_images_in_the_selection():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(6), 40).astype(np.float32)
    order = rng.permutation(40)
    here, there = nola.select(probabilities, 3), nola.select(probabilities[order], 3)
    assert dict(zip(order[there[0]].tolist(), there[1].tolist(), strict=True)) == dict(
        zip(here[0].tolist(), here[1].tolist(), strict=True)
    )


def test_network_learns_labels_of_separable_features():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = (5 * np.eye(8)[labels] + rng.standard_normal((90, 8))).astype(np.float32)
    settings = nola.Settings(hidden=16, labeling_epochs=30)
    network = nola.train_labeler(features, labels.astype(np.int32), 3, settings, seed=1)
    assert (jnp.argmax(nola.label_logits(network, features), axis=-1) == labels).mean() > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vision_prompts": 0}, "settings.vision_prompts=0 must be at least 1"),
        ({"share": 1.5}, "settings.share=1.5 must be from 0 to 1"),
        ({"templates": ("a photo",)}, "settings.templates: 'a photo' must contain \"{}\" once"),
        ({"second_normalization": "dino"}, "settings.second_normalization"),
    ],
)
def test_invalid_settings_are_rejected(settings, message):
    with pytest.raises(PromptError) as error:
        nola.Settings(**settings)
    assert message in str(error.value)


def test_other_classes_are_refused():
    with pytest.raises(PromptError, match="none for 1 of 6 classes"):
        methods.make_task(
            nola.METHOD,
            TINY,
            FROZEN,
            CLASSES,
            task().settings,
            trained=[0, 1, 2, 3, 4, -1],
            texts=task().texts,
        )
