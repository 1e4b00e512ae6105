"""The model files of a finished run reproduce its tested accuracy."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from reference import adapt
from video_rows import frames_of

from experiments import complete
from experiments.cli.command_line import explain
from experiments.configs import default
from experiments.run import experiment, reopening, sweep
from prompt_jax import methods
from prompt_jax.clip import CLIP, loading
from prompt_jax.errors import PromptError
from prompt_jax.evaluation.evaluate import Evaluator
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import saved
from prompt_jax.storage.files import seal
from prompt_jax.text import class_texts

FILES = (saved.MODEL, saved.PROMPTS)
# Prompts of the last step, averaged, computed from the shots, with selected settings, and none.
SMALL = {
    "pro_mpt": {"iterations": 2},
    "promptsrc": {},
    "tip_adapter_f": {},
    "gda": {},
    "zero_shot": {},
}
ON_VIDEOS = ("vop_f_p", "coop")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def on_images(clip, method):
    """Runs a method on four classes of scenes."""
    c = tiny.small_config(method, clip, **SMALL.get(method, {}))
    c.epochs, c.batch_size, c.data.shots = 1, 4, 2
    c.protocol = "base_to_novel"
    c.cached_views = 2 if method in ("tip_adapter_f", "gda") else 0
    return c


def on_videos(clip, method, protocol="few_shot"):
    """Runs a method on two frames of the embedded videos."""
    c = default.get_config(method, kind="images" if method == "coop" else "videos")
    c.backbone, c.protocol, c.data.name = str(clip), protocol, "emoji_clips"
    c.data.frames, c.data.num_threads = 2, 0
    if "frames" in c.settings:
        c.settings.frames = 2
    c.data.frame_rule, c.data.frame_stats = "segment", "imagenet"
    c.data.train_per_class, c.data.test_per_class, c.data.num_objects = 1, 2, 0
    if protocol == "few_shot":
        c.data.shots = 1
    c.batch_size, c.eval_batch_size, c.epochs = 11, 33, 1
    return c


def use(folder, dataset, batches):
    """Returns the accuracies of a directory's model on test batches, using only its two files."""
    model = saved.read(folder)
    sizes, frozen = loading.load(model.backbone, model.activation or None)
    assert loading.fingerprint(sizes, frozen) == model.backbone_hash
    assert sizes == model.sizes
    on_videos = model.kind == "videos" and model.method not in methods.METHODS
    method = (
        methods.recognize(methods.get_encoders(model.method))
        if on_videos
        else methods.get(model.method)
    )
    clip = methods.tower_for(method, CLIP(sizes, jnp.dtype(model.dtype)), model.kind)
    index = methods.index_trained(model.class_names, dataset.class_names)
    settings = method.Settings(**model.settings)
    frozen = jax.tree.map(jnp.asarray, frozen)
    made = method, clip, frozen, dataset.class_names, settings, dataset.template, index
    task = methods.make_task(*made, model.texts)
    return Evaluator([method])([model.prompts], [task], batches)[0]


def assert_used_as_tested(folder, config, results):
    """Checks that the files give the prompts of the run and its accuracies."""
    model, run = saved.read(folder), reopening.reopen(folder)
    tested = reopening.trained(run)
    assert jax.tree.structure(model.prompts) == jax.tree.structure(tested)
    jax.tree.map(np.testing.assert_array_equal, model.prompts, jax.device_get(tested))
    kinds = jax.tree.map(
        lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), model.prompts, tested
    )
    assert all(jax.tree.leaves(kinds))
    assert model.trained["accuracy"] == results["accuracy"]
    for key, dataset in run.plan.tests.items():
        if model.task == "classes":
            found = use(folder, dataset, run.plan.batches.test(dataset, dataset.test))
            np.testing.assert_allclose(found.per_iteration, results["per_iteration"][key])
    return model


@pytest.mark.slow
@pytest.mark.parametrize("method", SMALL)
def test_the_files_of_a_run_on_images_reproduce_its_figures(clip, method, tmp_path):
    config = on_images(clip, method)
    results = experiment.run(config, tmp_path / "run")
    model = assert_used_as_tested(tmp_path / "run", config, results)
    assert model.inputs == Inputs.of(32)
    assert (model.kind, model.task, model.method) == ("images", "classes", method)
    assert len(model.class_names) == 2 and model.template == "a photo of a {}."
    reported = model.trained
    assert reported["h"] == results["h"] and reported["zero_shot"] == results["zero_shot"]
    assert (reported["dataset"], reported["protocol"], reported["shots"]) == (
        "emoji_scenes",
        config.protocol,
        2,
    )
    assert reported["git_commit"] == results["git_commit"] and "stand-in" in reported["note"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ON_VIDEOS)
def test_the_files_of_a_run_on_videos_reproduce_its_figures(clip, method, tmp_path):
    config = on_videos(clip, method)
    results = experiment.run(config, tmp_path / "run")
    model = assert_used_as_tested(tmp_path / "run", config, results)
    assert (model.inputs.frames, model.inputs.frame_rule) == (2, "even")
    assert model.inputs.mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-6)


@pytest.mark.slow
def test_a_retrieval_run_writes_its_prompts(clip, tmp_path):
    config = on_videos(clip, "vop", "retrieval")
    results = experiment.run(config, tmp_path / "run")
    model = assert_used_as_tested(tmp_path / "run", config, results)
    assert (model.kind, model.task, model.class_names) == ("videos", "captions", ())


@pytest.mark.parametrize(
    ("kind", "name"),
    [*(("images", name) for name in methods.METHODS), *(("videos", n) for n in methods.ENCODERS)],
)
def test_prompts_of_every_method_are_read_as_written(kind, name, tmp_path):
    of_videos = kind == "videos"
    method = methods.recognize(methods.get_encoders(name)) if of_videos else methods.get(name)
    clip, frozen = CLIP(tiny.CONFIG), jax.tree.map(jnp.asarray, tiny.frozen_parameters())
    texts = class_texts.stand_in(method.texts, tiny.CLASSES)
    task = methods.make_task(method, clip, frozen, tiny.CLASSES, method.Settings(), texts=texts)
    shapes = jax.eval_shape(method.init, jax.random.key(0), task)
    if method.adaptation:
        features = jnp.ones((2, 8, tiny.CONFIG.embed_dim))
        labels = jnp.arange(8) % 4
        make = functools.partial(adapt, method)
        shapes = jax.eval_shape(make, shapes, task, features, labels)
    rng = np.random.default_rng(0)
    prompts = jax.tree.map(lambda leaf: np.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)
    if method.adaptation:
        prompts |= {"labels": np.float32(np.arange(len(prompts["labels"])) % 4)}
        for each in {"alpha", "beta", "gamma", "delta"} & prompts.keys():
            prompts[each] = np.minimum(np.abs(prompts[each]), 1)
        for each in {"features", "keys", "captions"} & prompts.keys():
            prompts[each] /= np.linalg.norm(prompts[each], axis=1, keepdims=True)
    frames = frames_of(method, method.Settings(), 2) if of_videos else 0
    model = saved.Saved(
        method=name,
        kind=kind,
        task="classes",
        settings={},
        class_names=tiny.CLASSES,
        template="{}",
        backbone="clip",
        backbone_hash="0" * 16,
        activation="",
        dtype="float32",
        sizes=tiny.CONFIG,
        inputs=Inputs.of(32, frames=frames, frame_rule="even" if frames else ""),
        trained={},
        prompts=prompts,
        texts=texts,
    )
    saved.write(tmp_path, model)
    there = saved.read(tmp_path)
    assert jax.tree.structure(there.prompts) == jax.tree.structure(prompts)
    jax.tree.map(np.testing.assert_array_equal, there.prompts, prompts)
    assert [leaf.shape for leaf in jax.tree.leaves(there.prompts)] == [
        leaf.shape for leaf in jax.tree.leaves(prompts)
    ]
    written = json.loads((tmp_path / saved.MODEL).read_text())["prompts"]["sha256"]
    assert saved.digest(there.prompts) == saved.digest(prompts) == written


@pytest.mark.slow
def test_parallel_runs_of_several_seeds_are_complete(clip, tmp_path):
    config = on_images(clip, "coop")
    config.seeds, config.parallel_seeds = (1, 2), True
    results = sweep.run(config, tmp_path)
    folders = [path.parent for path in sorted(tmp_path.rglob("results.json"))]
    for folder, found in zip(folders, results, strict=True):
        model = assert_used_as_tested(folder, config, found)
        assert model.trained["seed"] == found["seed"]
    one, two = (saved.read(folder).prompts["context"] for folder in folders)
    assert np.abs(one - two).max() > 1e-4


@pytest.fixture(scope="module")
def finished(clip, tmp_path_factory):
    """Returns a run on image files, which tests must not change."""
    folder = tmp_path_factory.mktemp("finished")
    tiny.save_clip(folder / "clip")
    root = tiny.save_caltech101(folder / "data")
    config = tiny.small_config("coop", folder / "clip", root, context_length=2)
    experiment.run(config, folder / "run")
    return folder


@pytest.fixture
def earlier(finished, tmp_path):
    """Returns the same run as written by an earlier version."""
    shutil.copytree(finished / "run", tmp_path / "run")
    for name in FILES:
        (tmp_path / "run" / name).unlink()
    return tmp_path / "run"


def test_results_json_is_written_last(clip, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(saved, "write", stop)
    config = on_images(clip, "zero_shot")
    with pytest.raises(KeyboardInterrupt):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run/results.json").exists()
    monkeypatch.undo()
    experiment.run(config, tmp_path / "run")
    assert saved.read(tmp_path / "run").method == "zero_shot"


def test_an_earlier_run_is_completed_and_otherwise_unchanged(finished, earlier, capsys):
    with pytest.raises(PromptError, match="complete it: python -m experiments.complete"):
        saved.read(earlier)
    before = content(earlier)
    assert explain(complete.start, [str(earlier)]) == 0
    assert "wrote model.json and prompts.safetensors" in capsys.readouterr().out
    after = content(earlier)
    assert {path.name for path in after.keys() - before.keys()} == set(FILES)
    assert {path: after[path] for path in before} == before
    here, there = (
        json.loads((folder / saved.MODEL).read_text()) for folder in (earlier, finished / "run")
    )
    assert {**here, "trained": {**here["trained"], "date": ""}, "digest": ""} == {
        **there,
        "trained": {**there["trained"], "date": ""},
        "digest": "",
    }
    assert explain(complete.start, [str(earlier)]) == 0
    assert "is already complete" in capsys.readouterr().out


def test_damaged_files_are_replaced(finished, earlier, capsys):
    (earlier / saved.MODEL).write_bytes((finished / "run" / saved.MODEL).read_bytes())
    (earlier / saved.PROMPTS).write_bytes(b"torn")
    assert explain(complete.start, [str(earlier)]) == 0
    assert "replacing damaged files" in capsys.readouterr().out
    assert saved.read(earlier).method == "coop"


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("checkpoints", "has no checkpoint of the last step"),
        ("../clip", "clip"),
        ("../data", "data"),
        ("results.json", "holds no results.json of a finished run"),
    ],
)
def test_missing_requirements_of_completing_are_named(finished, lost, message, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "all")
    run = tmp_path / "all/run"
    for name in FILES:
        (run / name).unlink()
    results = json.loads((run / "results.json").read_text())
    del results["digest"]
    results["config"]["backbone"] = str(tmp_path / "all/clip")
    results["config"]["data"]["root"] = str(tmp_path / "all/data")
    (run / "results.json").write_text(json.dumps(seal(results)))
    target = (run / lost).resolve()
    target.unlink() if target.is_file() else shutil.rmtree(target)
    assert explain(complete.start, [str(run)]) == 2
    error = capsys.readouterr().err
    assert f"{run} cannot be completed" in error and message in error
    assert not any((run / name).exists() for name in FILES)


def content(folder):
    """Returns every file's bytes and time."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
