"""Training and evaluation split over several devices equal those on one device."""

import json
import os

import pytest
import tiny

from prompt_jax.errors import PromptError
from prompt_jax.training.sharding import Placement

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
