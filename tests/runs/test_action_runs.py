"""Runs of action recognition on a tiny CLIP and embedded videos."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import prompt_jax as pj
from data_pipelines import datasets
from experiments.configs.video import protocol
from experiments.run import experiment, sweep, training
from experiments.setup import building, loading, preparation
from prompt_jax import methods
from prompt_jax.clip import CLIP
from prompt_jax.errors import PromptError
from prompt_jax.evaluation import evaluate
from prompt_jax.text import class_texts

FRAMES = 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def config_of(clip, method, name="few_shot", **settings):
    """Returns a config of two epochs on a video of each action, with three frames each."""
    c = protocol.get_config(name, method)
    c.backbone = str(clip)
    c.settings.update(settings)
    c.data.frames = FRAMES
    if "frames" in settings:
        c.settings.frames = FRAMES
    c.data.shots = c.data.test_per_class = 1
    c.data.num_threads = 0
    c.batch_size = c.eval_batch_size = 16
    c.epochs = 2
    c.log_every = c.checkpoint_every = 1
    return c


def independent(clip):
    return config_of(clip, "vilt_independent", text_prompts=2, vision_prompts=2)


def a5_of(clip):
    config = config_of(clip, "a5", frames=FRAMES, temporal_blocks=1)
    config.cached_views = 2
    return config


def figures(results):
    return {key: results[key] for key in ("accuracy", "top5", "zero_shot", "per_iteration")}


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_a_run_records_the_confusions_of_each_class(clip, tmp_path):
    found = experiment.run(independent(clip), tmp_path)
    assert found["accuracy"]["test"] <= found["top5"]["test"] <= 100
    assert found["zero_shot"]["test"] <= found["zero_shot_top5"]["test"]
    with (tmp_path / "confusion-test.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"class", "predicted", "count"}
    counts = [int(row["count"]) for row in rows]
    assert min(counts) > 0 and sum(counts) == found["pictures"]["test_test"] == 33
    right = sum(int(row["count"]) for row in rows if row["class"] == row["predicted"])
    assert 100 * right / 33 == pytest.approx(found["accuracy"]["test"])
    assert len(losses(tmp_path)) == 4 and found["config"]["data"]["mix"]


def test_a5_trains_on_cached_features_of_frames(clip, tmp_path):
    config = a5_of(clip)
    prepared = preparation.prepare(loading.load(config, tmp_path / "prepared"))
    assert prepared.shots.features.shape == (2, 33, FRAMES, tiny.CONFIG.embed_dim)
    batch = next(prepared.shots.batches)
    assert batch["image"].shape == (16, FRAMES, tiny.CONFIG.embed_dim)
    step = jax.make_jaxpr(methods.encode_input, static_argnums=0)
    assert not step(prepared.method, prepared.task, batch["image"]).eqns  # no image tower
    found = experiment.run(config, tmp_path / "run")
    assert found["features"] == "cached: 2 augmented views of each training video's frames"


@pytest.mark.slow
def test_a_stopped_run_on_mixed_videos_resumes_to_the_same_results(clip, tmp_path, monkeypatch):
    whole = experiment.run(independent(clip), tmp_path / "whole")

    class Interrupted(training.Log):
        def write(self, step, metrics):
            if step == 3:
                raise KeyboardInterrupt
            return super().write(step, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(training, "Log", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            experiment.run(independent(clip), tmp_path / "stopped")
    assert figures(experiment.run(independent(clip), tmp_path / "stopped")) == figures(whole)
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


@pytest.mark.slow
def test_parallel_seeds_equal_separate_runs(clip, tmp_path):
    config = independent(clip)
    config.seeds = (1, 2)
    apart = sweep.run(config, tmp_path / "apart")
    config.parallel_seeds = True
    together = sweep.run(config, tmp_path / "together")
    assert [figures(one) for one in apart] == [figures(one) for one in together]
    for folder in sorted(path.parent for path in (tmp_path / "apart").rglob("results.json")):
        twin = tmp_path / "together" / folder.relative_to(tmp_path / "apart")
        assert losses(folder) == pytest.approx(losses(twin), abs=1e-4)


@pytest.mark.slow
def test_supervised_runs_are_tested_on_views(clip, tmp_path):
    config = config_of(clip, "clip_video", "supervised")
    config.data.update(shots=16, crop="clip", views=2, train_per_class=1)
    config.eval_batch_size = 4
    found = experiment.run(config, tmp_path)
    assert found["pictures"]["test_test"] == 33  # and not six times as many
    assert found["accuracy"].keys() == found["top5"].keys() == {"test"}


def evaluate_logits(logits, labels, views):
    """Returns the accuracy of a method whose logits are the images."""
    method = methods.Method(object, None, lambda p, q, task, x: methods.Output(x[None]))
    task = methods.Task(
        {}, None, jnp.arange(logits.shape[-1]), None, clip=CLIP(tiny.CONFIG), settings=None
    )
    batch = {"image": jnp.asarray(logits, jnp.float32), "label": jnp.asarray(labels)}
    [found] = evaluate.Evaluator([method], views)([{}], [task], [batch])
    return found


def test_the_softmax_is_summed_over_the_views_of_a_video():
    # One confident view outweighs two undecided ones; summed logits would differ.
    sure, even = [3.0, 0.0, 0.0], [0.0, 0.5, 0.0]
    loud = [30.0, 0.0, 0.0]
    logits = np.array([sure, even, even, loud, [0, 9.0, 0], [0, 9.0, 0], sure, sure, sure])
    found = evaluate_logits(logits, np.repeat([0, 1, -1], 3), 3)
    assert found.images == 2 and found.final == 100  # summed logits would select 0 for both
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    with pytest.raises(PromptError, match="a batch of 9 rows cannot show each video 2 times"):
        evaluate_logits(logits, np.zeros(9, np.int32), 2)


def test_top_5_is_that_of_the_last_iteration():
    logits = np.tile(np.arange(7.0), (7, 1))
    found = evaluate_logits(logits, np.arange(7, dtype=np.int32), 1)
    assert found.final == pytest.approx(100 / 7) and found.top5 == pytest.approx(500 / 7)
    assert found.confusion[:, 6].tolist() == [1] * 7
    assert evaluate_logits(logits[:3, :3], np.arange(3, dtype=np.int32), 1).top5 == 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("ez_clip", {"frames": FRAMES}),
        ("m2clip", {"hidden": 8}),
        ("m2clip", {"prediction": "head"}),
    ],
)
def test_methods_with_a_loss_of_their_own_train_and_predict(clip, tmp_path, method, settings):
    def config():
        c = config_of(clip, method, **settings)
        c.texts = str(tmp_path / "classes.json") if method == "ez_clip" else c.texts
        return c

    names = datasets.load("emoji_clips").class_names
    texts = class_texts.stand_in("classes", names).as_json()["texts"]
    (tmp_path / "classes.json").write_text(json.dumps(texts))
    found = experiment.run(config(), tmp_path / "run")
    assert not found["config"]["data"]["mix"] and len(losses(tmp_path / "run")) == 4
    assert experiment.run(config(), tmp_path / "run") == found  # it is finished
    assert ("texts" in found) == (method == "ez_clip")
    model = pj.load(tmp_path / "run")
    assert model.class_names == tuple(names)
    video = np.random.default_rng(0).integers(0, 256, (FRAMES, 32, 32, 3), np.uint8)
    predicted = model.predict([video], quiet=True)
    assert predicted[0].classes[0] == names[predicted.labels[0]]
    assert np.isfinite(predicted.logits).all()


def test_a_setting_can_be_the_text_of_a_file(clip, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("left 1\nballoon 0\n")
    config = config_of(clip, "m2clip", words=f"@{path}")
    read = building.check(config)
    assert read.settings["words"] == path.read_text()
    assert building.build_method(read)[1].words == "balloon left"
    assert building.check(read).settings == read.settings
    for content, reason in ((b"\xff", "it is not UTF-8"), (b" " * 2**21, "1,048,576 bytes")):
        path.write_bytes(content)
        with pytest.raises(PromptError, match=f"config.settings.words: .*{reason}"):
            building.check(config)
    path.unlink()
    with pytest.raises(PromptError, match="No such file"):
        building.check(config)
