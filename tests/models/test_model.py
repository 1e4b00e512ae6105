"""The main interface: load, predict, encode, save."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from tiny import CONFIG, save_clip

import prompt_jax as pj
from prompt_jax import methods
from prompt_jax.clip import loading
from prompt_jax.errors import BadImage, PromptError
from prompt_jax.evaluation import programs
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.methods import find as find_method
from prompt_jax.models import saved
from prompt_jax.models.model import Model
from prompt_jax.text.templates import IMAGENET_SELECT

NAMES = ("sea_horse", "pagoda", "garfield", "accordion")
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 40, 48, 3), np.uint8)
FRAMES = 3
CLOSE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def bare(clip):
    return pj.load(clip)


def trained(base: Model, name: str, kind: str = "images", **settings) -> Model:
    """Returns a model with slightly perturbed initial prompts."""
    method = find_method(name, kind)
    chosen = method.Settings(**settings)
    task = methods.make_task(method, base.clip, base.frozen, NAMES, chosen)
    prompts = method.init(jax.random.key(0), task)
    noise = jax.random.key(1)
    prompts = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(noise, leaf.shape), prompts)
    return dataclasses.replace(
        base,
        name=name,
        method=method,
        settings=chosen,
        prompts=prompts,
        class_names=NAMES,
        _tasks={},
    )


def test_predictions_are_those_of_the_method(bare):
    one = trained(bare, "pro_mpt")
    task = methods.make_task(one.method, one.clip, one.frozen, NAMES, one.settings)
    images = np.stack([one.preprocess(pixels) for pixels in PIXELS])
    expected = one.method.forward(one.prompts, None, task, images).logits
    found = one.predict(PIXELS)
    np.testing.assert_allclose(found.logits, expected, **CLOSE)
    assert found.logits.shape == (3, 7, 4)
    np.testing.assert_allclose(found.probabilities.sum(axis=-1), 1, rtol=1e-6)
    first = found[0]
    assert first.classes[0] == NAMES[found.labels[0]] == first.iterations[-1][0]
    assert first.probabilities == tuple(sorted(found.probabilities[0].tolist(), reverse=True))
    assert len(first.iterations) == 3
    assert [each.source for each in found][:2] == ["#0", "#1"]


@pytest.mark.parametrize("name", ["coop", "pro_mpt"])
def test_the_batch_size_does_not_change_predictions(bare, name):
    one = trained(bare, name)
    whole = one.predict(PIXELS).logits
    np.testing.assert_allclose(one.predict(PIXELS, batch_size=3).logits, whole, **CLOSE)
    alone = np.concatenate([one.predict(pixels).logits for pixels in PIXELS], axis=1)
    np.testing.assert_allclose(alone, whole, **CLOSE)


def test_few_programs_are_compiled(bare):
    one = trained(bare, "coop", context_length=5)
    for number in (7, 6, 5):
        one.predict(PIXELS[:number], batch_size=8)
        one.predict(PIXELS[:number], NAMES[::-1], batch_size=8)
    run = programs.logits(one.method)
    before = run._cache_size()
    one.predict(PIXELS[:7], batch_size=8)
    one.predict(PIXELS[:6], [*NAMES[1:], NAMES[0]], batch_size=8)
    assert run._cache_size() == before


def test_other_classes_and_orders(bare):
    one = trained(bare, "coop")
    there = one.predict(PIXELS).logits[0]
    turned = one.predict(PIXELS, NAMES[::-1])
    np.testing.assert_allclose(turned.logits[0][:, ::-1], there, **CLOSE)
    some = one.predict(PIXELS, ["pagoda", "owl"])
    np.testing.assert_allclose(some.logits[0][:, 0], there[:, 1], **CLOSE)
    assert some.class_names == ("pagoda", "owl")


def test_a_class_specific_context_is_found_by_name(bare):
    one = trained(bare, "coop", class_specific=True)
    there = one.predict(PIXELS).logits[0]
    part = one.predict(PIXELS, ["accordion", "pagoda"]).logits[0]
    np.testing.assert_allclose(part, there[:, [3, 1]], **CLOSE)
    with pytest.raises(PromptError, match="and none for 1 of 2 classes, e.g. 'owl'"):
        one.predict(PIXELS, ["owl", "pagoda"])


def test_zero_shot_is_the_product_of_features(bare):
    texts = [f"a photo of a {name.replace('_', ' ')}." for name in NAMES]
    images, classes = bare.encode_images(PIXELS), bare.encode_texts(texts)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-5)
    assert bare.encode_texts([]).shape == (0, CONFIG.embed_dim)
    scale = np.exp(bare.frozen["logit_scale"])
    expected = scale * images @ classes.T
    one = bare.zero_shot(NAMES)
    np.testing.assert_allclose(one.predict(PIXELS).logits[0], expected, **CLOSE)
    np.testing.assert_allclose(bare.predict(PIXELS, NAMES).logits[0], expected, **CLOSE)


def test_templates_are_averaged(bare):
    one = bare.zero_shot(NAMES, IMAGENET_SELECT)
    settings = methods.get("zero_shot").Settings(templates="imagenet_select")
    other = dataclasses.replace(bare, settings=settings, _tasks={})
    expected = other.predict(PIXELS, NAMES).logits
    np.testing.assert_allclose(one.predict(PIXELS).logits, expected, **CLOSE)
    with pytest.raises(PromptError, match="a model of 7 templates cannot be saved"):
        one.save("nowhere")


def test_videos_work_with_image_methods_and_video_methods(clip):
    base = pj.load(clip, frames=FRAMES)
    videos = np.stack([PIXELS[:FRAMES], PIXELS[FRAMES : 2 * FRAMES]])
    mean = base.zero_shot(NAMES).predict(videos)
    images = pj.load(clip)
    tower, frozen = images.clip, images.frozen
    frames = np.stack([[images.preprocess(frame) for frame in one] for one in videos])
    raw = np.asarray(tower.encode_image(frozen, frames)).mean(axis=1)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    texts = images.encode_texts([f"a video of a {name.replace('_', ' ')}." for name in NAMES])
    scale = np.exp(images.frozen["logit_scale"])
    np.testing.assert_allclose(mean.logits[0], scale * raw @ texts.T, **CLOSE)

    one = trained(base, "vop_f_p", "videos", frames=FRAMES)
    logits = one.predict(videos, ["a cat runs", "a dog sleeps"]).logits[0]
    features = (
        one.encode_images(videos),
        one.encode_texts(["a video of a a cat runs.", "a video of a a dog sleeps."]),
    )
    expected = np.exp(images.frozen["logit_scale"]) * features[0] @ features[1].T
    np.testing.assert_allclose(logits, expected, **CLOSE)


@pytest.mark.parametrize(
    ("name", "frames"), [("pro_mpt", 0), ("coop", 0), ("vilt_clip", FRAMES), ("zero_shot", 0)]
)
def test_a_saved_model_predicts_the_same(clip, tmp_path, name, frames):
    base = pj.load(clip, frames=frames)
    one = trained(base, name, "videos" if frames else "images")
    shown = PIXELS[None] if frames else PIXELS
    folder = one.save(tmp_path / "model")
    assert {path.name for path in folder.iterdir()} == {"model.json", "prompts.safetensors"}
    again = pj.load(folder)
    np.testing.assert_array_equal(again.predict(shown).logits, one.predict(shown).logits)
    assert again.class_names == NAMES
    with pytest.raises(PromptError, match="already exists"):
        one.save(folder)


@pytest.fixture
def folder(bare, tmp_path):
    return trained(bare, "coop").save(tmp_path / "model")


def change(folder, **fields):
    path = folder / saved.MODEL
    content = json.loads(path.read_text())
    content.pop("digest")
    path.write_text(json.dumps(content | fields))


def test_a_moved_backbone_can_be_passed(folder, clip, tmp_path):
    change(folder, backbone="/gone")
    with pytest.raises(PromptError, match=r"the backbone of .*model, /gone: .*by backbone=…"):
        pj.load(folder)
    assert pj.load(folder, backbone=clip).class_names == NAMES
    other = save_clip(tmp_path / "other", "text/block_0/fc/bias")
    with pytest.raises(PromptError, match="trained on another backbone than"):
        pj.load(folder, backbone=other)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: (path / "prompts.safetensors").write_bytes(b"x" * 90), "was changed or dam"),
        (
            lambda path: (path / "prompts.safetensors").unlink(),
            "prompts.safetensors cannot be read",
        ),
        (lambda path: (path / "model.json").write_text("{"), "model.json cannot be read"),
        (lambda path: change(path, format=2), "has format 2; this version reads 1"),
        (lambda path: change(path, method="no"), "unknown method 'no'"),
        (
            lambda path: change(path, settings={"new": 1}),
            "settings: new: 1: this version",
        ),
        (lambda path: change(path, sizes={}), "model.json is damaged"),
    ],
)
def test_damaged_models_are_not_loaded(folder, harm, words):
    harm(folder)
    with pytest.raises(PromptError, match=words):
        pj.load(folder)


def test_a_changed_word_is_detected(folder):
    path = folder / saved.MODEL
    path.write_text(path.read_text().replace("pagoda", "pagode"))
    with pytest.raises(PromptError, match="damaged, .*digest"):
        pj.load(folder)


@pytest.mark.parametrize("source", [None, 5, ""])
def test_an_invalid_path_is_explained(source):
    with pytest.raises(PromptError, match="is not a directory, a file or the name of a CLIP"):
        pj.load(source)


def test_the_path_of_a_file_of_the_model_is_its_directory(folder):
    assert pj.load(folder / "model.json").class_names == NAMES
    (folder / "model.json").write_text("[]")
    with pytest.raises(PromptError, match="does not describe a trained model"):
        pj.load(folder)


def test_a_directory_without_a_model_is_described(tmp_path):
    with pytest.raises(PromptError, match=r"nor model\.json of a trained model"):
        pj.load(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(PromptError, match="unfinished run; start it again"):
        pj.load(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(PromptError, match="python -m experiments.complete"):
        pj.load(tmp_path)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda m: m.predict(PIXELS), r"no classes to choose from; pass class names by classes=…"),
        (lambda m: m.predict(PIXELS, "cat"), r"pass \['cat'\]"),
        (
            lambda m: m.predict(PIXELS, ["a_b", "owl", "A b"]),
            "'a_b' and 'A b' make the same prompt",
        ),
        (lambda m: m.predict(PIXELS, ["cat", " "]), "class ' ' is empty"),
        (lambda m: m.predict(PIXELS, ["cat", 1]), "class 1 is of type int"),
        (lambda m: m.predict(PIXELS, ["cat"], top_k=0), "top_k=0 must be a whole number, at least"),
        (
            lambda m: m.predict(PIXELS, ["cat"], batch_size=2.5),
            "batch_size=2.5 must be a whole num",
        ),
        (
            lambda m: m.predict(PIXELS, ["cat"], on_error="skip"),
            "on_error='skip' must be a function",
        ),
        (lambda m: m.zero_shot(["cat"], []), "templates is empty"),
        (lambda m: m.zero_shot(["cat"], "a photo"), 'must contain "{}" once'),
        (lambda m: m.tokenize("word " * 80), "at most 77 fit"),
        (lambda m: m.encode_texts(["word " * 80]), "at most 77 fit"),
    ],
)
def test_invalid_arguments_are_explained(bare, ask, words):
    with pytest.raises(PromptError, match=words):
        ask(bare)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float16"}, "unknown dtype 'float16'"),
        ({"frames": -1}, "frames=-1 must be a whole number"),
        ({"frames": 2.5}, "frames=2.5 must be a whole number"),
        ({"backbone": "embedded"}, "is a backbone, not a trained model; leave backbone=… out"),
    ],
)
def test_unknown_values_of_load(clip, options, words):
    with pytest.raises(PromptError, match=words):
        pj.load(clip, **options)


def test_an_unreadable_file_is_reported_and_skipped(bare, tmp_path):
    Image.fromarray(PIXELS[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    paths = [tmp_path / "bad.png", tmp_path / "good.png"]
    with pytest.raises(BadImage, match=r"bad\.png: not an image"):
        bare.predict(paths, NAMES)
    reported = []
    found = bare.predict(paths, NAMES, on_error=reported.append)
    assert len(reported) == 1 and found.labels[0] == -1 and np.isnan(found.probabilities[0]).all()
    assert found[0].error.startswith("not an image") and not found[0].classes
    np.testing.assert_array_equal(found.logits[0, 1], bare.predict(PIXELS[0], NAMES).logits[0, 0])
    assert "bad.png: not an image" in str(found)
    assert found.as_rows()[1]["source"] == str(paths[1])


def test_the_fingerprint_is_that_of_the_parameters(bare):
    frozen = jax.tree.map(np.asarray, bare.frozen)
    assert loading.fingerprint(CONFIG, frozen) == saved.of_model(bare).backbone_hash
    assert saved.of_model(bare).inputs == Inputs.of(CONFIG.image_size)


def test_slow_packages_are_imported_on_first_use():
    heavy = ("jax", "flax", "PIL", "torch", "transformers", "matplotlib", "grain", "absl")
    code = (
        "import sys, prompt_jax as pj; assert 'load' in dir(pj)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        _ = pj.lod


def test_nan_logits_are_rejected(bare):
    one = trained(bare, "coop")
    vast = dataclasses.replace(one, prompts={"context": one.prompts["context"] * 3e38}, _tasks={})
    with pytest.raises(PromptError, match="the logits of #0 are NaN or infinite"):
        vast.predict(PIXELS)
