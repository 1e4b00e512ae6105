"""Damaged and malicious model directories are rejected with the field concerned."""

import dataclasses
import json
import resource
import shutil
import signal

import hostile_methods
import hostile_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import prompt_jax as pj
from prompt_jax import methods
from prompt_jax.clip import loading as clip_loading
from prompt_jax.errors import PromptError
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import loading, saved

FRAMES = 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def model_of(clip, name, kind="images", **settings):
    """Returns a model with initial prompts."""
    sizes, frozen = clip_loading.load(clip)
    method = methods.find(name, kind)
    chosen = method.Settings(**settings)
    tower, placed = loading.place(sizes, frozen, "float32", "highest")
    task = methods.make_task(method, tower, placed, tiny.CLASSES, chosen)
    prompts = method.init(jax.random.key(0), task)
    if method.adaptation:
        features = jax.random.normal(jax.random.key(1), (2, 8, sizes.embed_dim))
        prompts = method.adaptation.make(prompts, task, features, jnp.arange(8) % 4)
    frames = FRAMES if kind == "videos" else 0
    return saved.Saved(
        method=name,
        kind=kind,
        task="classes",
        settings=dataclasses.asdict(chosen),
        class_names=tiny.CLASSES,
        template="a photo of a {}.",
        backbone=str(clip),
        backbone_hash=clip_loading.fingerprint(sizes, frozen),
        activation="",
        dtype="float32",
        sizes=sizes,
        inputs=Inputs.of(32, frames=frames, frame_rule="even" if frames else ""),
        trained={"seed": 1, "accuracy": {"base": 50.0}},
        prompts=jax.tree.map(np.asarray, prompts),
    )


@pytest.fixture(scope="module")
def models(clip, tmp_path_factory):
    """Returns intact models by name, which tests must not change."""
    place = tmp_path_factory.mktemp("models")
    made = {
        "coop": model_of(clip, "coop"),
        "tip_adapter": model_of(clip, "tip_adapter"),
        "pro_mpt": model_of(clip, "pro_mpt", vision_prompts=2, vision_depth=2),
        "vop_p": model_of(clip, "vop_p", "videos", frames=FRAMES),
    }
    for name, model in made.items():
        (place / name).mkdir()
        saved.write(place / name, model)
        assert pj.load(place / name).name == name
    return place


@pytest.fixture
def in_time():
    """Ends whatever takes longer than 20 seconds or more than 4 GB of memory."""

    def ring(*_):
        raise TimeoutError

    handler, memory = signal.signal(signal.SIGALRM, ring), resource.getrlimit(resource.RLIMIT_DATA)
    signal.alarm(20)
    with open("/proc/self/status") as status:
        [used] = [int(line.split()[1]) for line in status if line.startswith("VmData:")]
    resource.setrlimit(resource.RLIMIT_DATA, (1024 * used + 4 * 10**9, memory[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, memory)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


CASES = [
    *(("coop", name) for name in hostile_models.OF_COOP),
    *(("tip_adapter", name) for name in hostile_methods.OF_SHOTS),
    *(("pro_mpt", name) for name in hostile_methods.OF_PRO_MPT),
    *(("vop_p", name) for name in hostile_methods.OF_VIDEOS),
]
CHANGES = {
    **hostile_models.OF_COOP,
    **hostile_methods.OF_SHOTS,
    **hostile_methods.OF_PRO_MPT,
    **hostile_methods.OF_VIDEOS,
}


@pytest.mark.parametrize(("model", "name"), CASES)
def test_malicious_models_are_rejected_by_field(models, tmp_path, in_time, model, name):
    shutil.copytree(models / model, tmp_path / "model")
    change, words = CHANGES[name]
    change(tmp_path / "model")
    with pytest.raises(PromptError, match=words) as caught:
        pj.load(tmp_path / "model").predict(np.zeros((FRAMES, 40, 40, 3), np.uint8)[None])
    message = str(caught.value)
    assert "\n" not in message and message.isprintable() and len(message) < 2000


@pytest.mark.parametrize("name", ["coop", "tip_adapter", "vop_p"])
def test_models_of_earlier_versions_open(models, tmp_path, name):
    shutil.copytree(models / name, tmp_path / "model")
    content = hostile_models.content_of(tmp_path / "model")
    # As the first version wrote it: later fields have defaults with the earlier behavior.
    first = {"image_size", "mean", "std", "stats", "frames", "frame_rule", "crop"}
    content["inputs"] = {key: content["inputs"][key] for key in first}
    for field in ("precision", "class_ids"):
        del content[field]
    content["trained"] = {}
    content["settings"].pop("name_position", None)
    (tmp_path / "model" / saved.MODEL).write_text(json.dumps(content))
    before, after = pj.load(models / name), pj.load(tmp_path / "model")
    shown = np.random.default_rng(0).integers(0, 256, (2, FRAMES, 40, 48, 3), np.uint8)
    shown = shown if before.inputs.frames else shown[:, 0]
    np.testing.assert_array_equal(after.predict(shown).logits, before.predict(shown).logits)
