"""Training and evaluation split over several devices equal those on one device."""

import json
import math
import os
from typing import Any

import jax
import pytest
import tiny
from meshes import BOTH, CASES, EVALUATIONS, SPLIT, TOGETHER

from prompt_jax.errors import PromptError
from prompt_jax.training.sharding import Placement, parse_mesh

DEVICES = 4
# Two steps and an evaluation on 1 and on 4 devices; prints one JSON object per number of devices.
PROGRAM = """
import json, sys
import jax, numpy as np
from prompt_jax import methods; from prompt_jax.training import optim, train
from prompt_jax.clip import CLIP, loading
from prompt_jax.evaluation.evaluate import Evaluator
from prompt_jax.training.sharding import Placement, parse_mesh

config, frozen = loading.load(sys.argv[1])
rng = np.random.default_rng(0)
batch = {
    "image": rng.normal(size=(8, 32, 32, 3)).astype(np.float32),
    "label": np.arange(8, dtype=np.int32) % 3,
}
test = dict(batch, label=np.array([0, 1, 2, 0, 1, 2, -1, -1], np.int32))
for number in (1, len(jax.devices())):
    placement = Placement(parse_mesh("", jax.devices()[:number]))
    method = methods.get("pro_mpt")
    settings = method.Settings(iterations=2, vision_prompts=2, vision_depth=1)
    names = ["kiwi", "sea horse", "pagoda"]
    clip = CLIP(config)
    made = methods.make_task(method, clip, placement.replicate(frozen), names, settings)
    task = placement.replicate(made)
    prompts = method.init(jax.random.key(0), task)
    optimizer = optim.sgd(0.01, method.trains(prompts, settings))
    state = placement.replicate(train.init_state(prompts, optimizer))
    step, losses = train.make_step(method, optimizer), []
    split = placement.split(batch)
    for _ in range(2):
        state, metrics = step(state, task, split)
        losses.append(float(metrics["loss"]))
    [accuracy] = Evaluator([method])([state.prompts], [task], [placement.split(test)])
    shards = {s.data.shape[0] for s in split["image"].addressable_shards}
    leaves = jax.tree.leaves_with_path(state.prompts)
    print(json.dumps({
        "devices": placement.devices,
        "shards": sorted(shards),
        "replicated": all(leaf.is_fully_replicated for _, leaf in leaves),
        "losses": losses,
        "per_iteration": accuracy.per_iteration,
        "images": accuracy.images,
        "prompts": {jax.tree_util.keystr(p): np.asarray(x).ravel().tolist() for p, x in leaves},
    }))
"""


@pytest.mark.slow
def test_the_number_of_devices_does_not_change_results(tmp_path):
    clip = tiny.save_clip(tmp_path)
    process = tiny.command(
        "-c",
        PROGRAM,
        str(clip),
        XLA_FLAGS=f"--xla_force_host_platform_device_count={DEVICES} {os.environ['XLA_FLAGS']}",
    )
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    one, many = map(json.loads, output.splitlines())
    assert (one["devices"], many["devices"]) == (1, DEVICES)
    assert (one["shards"], many["shards"]) == ([8], [8 // DEVICES])
    assert many["replicated"]
    assert many["images"] == one["images"] == 6
    assert many["per_iteration"] == one["per_iteration"]
    assert many["losses"] == pytest.approx(one["losses"], rel=1e-5)
    for name, values in one["prompts"].items():
        assert many["prompts"][name] == pytest.approx(values, abs=1e-5), name


# A retrieval run on all devices; prints one JSON object.
RETRIEVAL = """
import json, pathlib, sys
import jax
from experiments.configs.video import retrieval
from experiments.run import experiment

clip, folder = map(pathlib.Path, sys.argv[1:])
config = retrieval.get_config("vop")
config.backbone = str(clip)
config.data.frames = 2
config.data.train_per_class = config.data.test_per_class = 1
config.data.num_threads = 0
config.batch_size = config.eval_batch_size = 16
config.epochs = config.log_every = 1
found = experiment.run(config, folder)
lines = (folder / "metrics.jsonl").read_text().splitlines()
losses = [line["loss"] for line in map(json.loads, lines) if "loss" in line]
ranks = {way: list(one.values()) for way, one in found["ranks"]["test"].items()}
print(json.dumps({"devices": jax.device_count(), "losses": losses, "ranks": ranks}))
"""


@pytest.mark.slow
def test_the_contrastive_loss_uses_the_pairs_of_the_whole_batch_on_all_devices(tmp_path):
    clip, found = tiny.save_clip(tmp_path / "clip"), []
    for number in (1, DEVICES):
        process = tiny.command(
            "-c",
            RETRIEVAL,
            str(clip),
            str(tmp_path / f"on-{number}"),
            XLA_FLAGS=f"--xla_force_host_platform_device_count={number} {os.environ['XLA_FLAGS']}",
        )
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        found.append(json.loads(output.splitlines()[-1]))
    one, many = found
    assert (one["devices"], many["devices"]) == (1, DEVICES)
    # The pairs of one device would have a quarter as many negatives.
    assert len(one["losses"]) > 3
    assert many["losses"] == pytest.approx(one["losses"], rel=1e-4)
    for way, figures in one["ranks"].items():
        assert many["ranks"][way] == pytest.approx(figures, abs=5), way


def test_indivisible_sizes():
    placement = Placement()
    placement.data = 8
    placement.check("batch_size", 96)
    with pytest.raises(
        PromptError, match="^batch_size=100 is not divisible by 8 devices; use 96 or 10"
    ):
        placement.check("batch_size", 100)
    with pytest.raises(PromptError, match="^batch_size=4 is not divisible by 8 devices; use 8$"):
        placement.check("batch_size", 4)


# Trains on one mesh, resumes on another, and fits in Python; prints one JSON object.
RESUMED = """
import json, pathlib, shutil, sys
import numpy as np
import prompt_jax as pj
from experiments.configs import default
from experiments.run import experiment
from prompt_jax.models import saved

clip, folder = map(pathlib.Path, sys.argv[1:])
config = default.get_config("coop", context_length=3)
config.backbone, config.mesh, config.shard_frozen = str(clip), "data:8", False
config.data.shots, config.data.num_classes, config.data.test_per_class = 8, 6, 3
config.data.num_threads, config.epochs = 0, 4
config.batch_size = config.eval_batch_size = 8
config.log_every, config.checkpoint_every = 1, 8
first = experiment.run(config, folder)
whole = saved.read(folder).prompts
last = max(int(path.name) for path in (folder / "checkpoints").iterdir())
shutil.rmtree(folder / "checkpoints" / str(last))
for name in ("results.json", "evaluations.json", "model.json", "prompts.safetensors"):
    (folder / name).unlink()
config.mesh, config.shard_frozen = "data:4,model:2", True
second = experiment.run(config, folder)
rng = np.random.default_rng(0)
images = list(rng.integers(0, 255, (8, 40, 40, 3), dtype=np.uint8))
fitted = [
    pj.fit("coop", clip, images, [0, 1, 2, 0, 1, 2, 0, 1], ["a", "b", "c"], mesh=mesh,
           epochs=2, batch_size=8)
    for mesh in ("", "data:2,model:4")
]
print(json.dumps({
    "devices": [first["devices"], second["devices"]],
    "accuracy": [first["accuracy"], second["accuracy"]],
    "prompts": [np.asarray(each["context"]).ravel().tolist()
                for each in (whole, saved.read(folder).prompts)],
    "fitted": [np.asarray(each.prompts["context"]).ravel().tolist() for each in fitted],
    "labels": [each.predict(images).labels.tolist() for each in fitted],
}))
"""


@pytest.mark.slow
def test_a_run_resumes_on_another_mesh(tmp_path):
    process = tiny.command(
        "-c",
        RESUMED,
        str(tiny.save_clip(tmp_path / "clip")),
        str(tmp_path / "run"),
        XLA_FLAGS=f"--xla_force_host_platform_device_count=8 {os.environ['XLA_FLAGS']}",
    )
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    found = json.loads(output.splitlines()[-1])
    assert found["devices"] == ["8 × cpu", "8 × cpu as data:4,model:2"]
    assert "started on 8 × cpu, resuming on 8 × cpu as data:4,model:2" in output
    assert found["accuracy"][0] == found["accuracy"][1]
    for name in ("prompts", "fitted"):
        one, many = found[name]
        assert many == pytest.approx(one, abs=1e-6), name
    assert found["labels"][0] == found["labels"][1]


WIDTH, ONE_IMAGE = tiny.CONFIG.embed_dim, 3 * tiny.CONFIG.image_size**2


def compare(cases: dict[str, dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Runs `meshes.compare` on cases, all in one process with eight devices."""
    flags = f"--xla_force_host_platform_device_count=8 {os.environ['XLA_FLAGS']}"
    process = tiny.command(
        "-m", "tests.helpers.meshes", *map(json.dumps, cases.values()), XLA_FLAGS=flags
    )
    output, errors = process.communicate(timeout=1800)
    assert process.returncode == 0, errors
    found = dict(zip(cases, map(json.loads, output.splitlines()), strict=True))
    assert not [each["error"] for each in found.values() if "error" in each]
    return found


@pytest.fixture(scope="module")
def compared():
    return compare(CASES | TOGETHER | EVALUATIONS | SPLIT)


def assert_trained_alike(of_mesh: dict[str, Any], name: str) -> None:
    assert of_mesh["losses"] <= 1e-5, name
    assert of_mesh["prompts"] <= 1e-5, name
    assert of_mesh["compiled"] in (None, 1), name


def test_a_mesh_trains_as_one_device_does():
    fast = {"cached": CASES["cached"] | {"meshes": BOTH}}
    fast["cocoop"] = CASES["cocoop"] | {"meshes": BOTH}
    for name, meshes in compare(fast).items():
        for of_mesh in meshes.values():
            assert_trained_alike(of_mesh, name)
            assert_little_is_gathered(of_mesh["gathered"], name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, *TOGETHER, *SPLIT])
def test_meshes_train_as_one_device_does(compared, name):
    assert len(compared[name]) == len((CASES | TOGETHER | SPLIT)[name]["meshes"])
    for mesh, of_mesh in compared[name].items():
        assert_trained_alike(of_mesh, mesh)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVALUATIONS)
def test_meshes_evaluate_as_one_device_does(compared, name):
    for mesh, of_mesh in compared[name].items():
        assert of_mesh["equal"], mesh
        assert of_mesh["prompts"] <= 1e-5, mesh


def assert_little_is_gathered(shapes: list[list[int]], name: str) -> None:
    """Neither images nor features of images or classes, except of a batch that a loss compares.

    Contexts of each class may be: they are prompts, which every device keeps.
    """
    case = CASES.get(name, {})
    compared = case.get("on") == "pairs" or case.get("among_images", False)
    own = case.get("settings", {}).get("class_specific", False)
    for shape in shapes:
        if own and shape[1:] == [16, tiny.CONFIG.text_width]:
            continue
        assert math.prod(shape) < ONE_IMAGE, (name, shape)
        of_batch = compared and math.prod(shape) <= 8 * WIDTH
        assert shape[-1:] != [WIDTH] or of_batch, (name, shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_step_gathers_neither_images_nor_class_features(compared, name):
    for of_mesh in compared[name].values():
        assert_little_is_gathered(of_mesh["gathered"], name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPLIT)
def test_split_weights_are_gathered_by_the_layers_that_use_them(compared, name):
    for mesh, parts in {"data:8": 8, "data:4,model:2": 2}.items():
        assert compared[name][mesh]["weights"] == pytest.approx(1 / parts, rel=0.03)
        kernel = [tiny.CONFIG.text_width, 3 * tiny.CONFIG.text_width]
        layer = [1, *kernel] if "loop" in name else kernel
        assert layer in compared[name][mesh]["gathered"]
        tokens = 1 + tiny.CONFIG.patches  # rows of the position embedding
        rows = [math.prod(shape[:-1]) for shape in compared[name][mesh]["gathered"]]
        if name == "pro_mpt split":  # others have texts of so many tokens
            assert not [number for number in rows if number > tokens and number % tokens == 0]


def test_meshes_that_do_not_fit():
    [device] = jax.devices()[:1]
    assert parse_mesh("", [device]).shape == {"data": 1, "model": 1}
    assert parse_mesh("model:1", [device]).shape == {"data": 1, "model": 1}
    for text, message in {
        "data:4,model:2": "is a mesh of 8 devices, and there is 1; use data:1$",
        "data:3": "is a mesh of 3 devices",
        "rows:2": "axis of config.mesh='rows:2': 'rows'",
        "data": "has 'data'; it must name each axis once, with the number of its devices",
        "data:2,data:4": "has 'data:4'; it must name each axis once",
        "data:0": "has 'data:0'",
        "data:-1": "has 'data:-1'",
        "data:²": "has 'data:²'",
    }.items():
        with pytest.raises(PromptError, match=message):
            parse_mesh(text, [device], "config.mesh")
    with pytest.raises(PromptError, match="has 'data:9+'… \\(105 characters\\); it must name"):
        parse_mesh("data:" + 100 * "9", [device])
    with pytest.raises(
        PromptError, match="there are 4; use data:4 or data:2,model:2 or data:1,model:4$"
    ):
        parse_mesh("data:3,model:2", [device] * 4)


def test_a_mesh_that_splits_an_axis_of_the_network(monkeypatch):
    def refuse(*_, **options):
        raise NotImplementedError(options)

    expected = parse_mesh("", jax.devices()[:1])
    monkeypatch.setattr(jax, "make_mesh", refuse)  # as for model:2 on 4 x 4 chips of TPU v6e
    assert parse_mesh("", jax.devices()[:1]) == expected
