"""`fit` and an experiment with the same seed, data and recipe train bitwise equal prompts."""

import importlib
import signal

import jax
import numpy as np
import pytest
from PIL import Image
from tiny import save_clip

import prompt_jax as pj
from experiments.configs.video import protocol
from experiments.run import experiment
from prompt_jax.errors import PromptError
from prompt_jax.training import loop, train

NAMES = ["anchor", "bee", "cup"]
EACH, FRAMES = 3, 4  # training examples per class, frames per video
TEMPLATE = "a photo of a {}."


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


def save(root, videos=False):
    """Writes noise in class directories; returns the training paths and their class names."""
    rng = np.random.default_rng(0)
    paths = []
    for split in ("train", "test"):
        for name in NAMES:
            for number in range(EACH):
                path = root / split / name / f"{number}"
                files = [path / f"{frame}.png" for frame in range(6)]
                for file in files if videos else [path.with_suffix(".png")]:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(rng.integers(0, 255, (40, 48, 3), np.uint8)).save(file)
                if split == "train":
                    paths.append(path if videos else path.with_suffix(".png"))
    return paths, [name for name in NAMES for _ in range(EACH)]


def experiment_on(root, clip, method, frames):
    if frames:
        c = protocol.get_config("few_shot", method)
        c.data.name, c.data.frames = "clip_folder", FRAMES
        c.data.augment, c.data.mix = "none", False
        if "frames" in c.settings:
            c.settings.frames = FRAMES
    else:
        c = importlib.import_module(f"experiments.configs.images.{method}").get_config()
        c.protocol, c.data.name = "few_shot", "folder"
    c.backbone, c.data.root, c.data.template = str(clip), str(root), TEMPLATE
    c.data.shots = EACH + 1  # a class with fewer images is used whole, in order
    c.epochs, c.batch_size, c.eval_batch_size, c.seed = 3, 4, len(NAMES) * EACH, 7
    return c


@pytest.mark.parametrize(
    ("method", "frames"),
    [
        ("coop", 0),
        ("gopro", 0),
        ("tip_adapter_f", 0),
        ("vop_f_p", FRAMES),
        ("a5", FRAMES),
    ],
)
def test_fit_trains_the_prompts_of_an_experiment(clip, tmp_path, method, frames):
    paths, labels = save(tmp_path / "data", videos=bool(frames))
    experiment.run(experiment_on(tmp_path / "data", clip, method, frames), tmp_path / "run")
    ran = pj.load(tmp_path / "run")
    options = {"epochs": 3, "batch_size": 4, "seed": 7, "template": TEMPLATE, "frames": frames}
    fitted = pj.fit(method, clip, paths, labels, NAMES, **options)
    assert fitted.settings == ran.settings
    assert jax.tree.structure(ran.prompts) == jax.tree.structure(fitted.prompts)
    jax.tree.map(np.testing.assert_array_equal, ran.prompts, fitted.prompts)
    other = pj.fit(method, clip, paths, labels, NAMES, **options | {"seed": 8})
    ends = zip(jax.tree.leaves(fitted.prompts), jax.tree.leaves(other.prompts), strict=True)
    assert any(np.any(np.asarray(one) != np.asarray(two)) for one, two in ends)


@pytest.mark.parametrize("method", ["coop", "gopro", "tip_adapter_f"])
def test_a_stopped_fit_resumes_to_the_same_prompts(clip, tmp_path, method, monkeypatch, capsys):
    paths, labels = save(tmp_path / "data")
    options = {"epochs": 3, "batch_size": 4}
    whole = pj.fit(method, clip, paths, labels, NAMES, **options)
    make, steps = train.make_step, []

    def stopping(*args):
        step = make(*args)

        def stop_at_four(*rest):
            steps.append(1)
            if len(steps) == 4:
                signal.raise_signal(signal.SIGINT)
            return step(*rest)

        return stop_at_four

    options["resume_dir"] = tmp_path / "kept"
    with monkeypatch.context() as patch:
        patch.setattr(train, "make_step", stopping)
        with pytest.raises(KeyboardInterrupt, match="stopped after step 4 of 6; run again"):
            pj.fit(method, clip, paths, labels, NAMES, **options)
    resumed = pj.fit(method, clip, paths, labels, NAMES, **options)
    assert f"resuming from step 4 of 6 in {tmp_path / 'kept'}" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, whole.prompts, resumed.prompts)
    with pytest.raises(PromptError, match=r"another training \(seed: 2 here, 1 there\); use anot"):
        pj.fit(method, clip, paths, labels, NAMES, seed=2, **options)
    with pytest.raises(PromptError, match=r"another training \(order: .*another resume_dir"):
        pj.fit(method, clip, paths[::-1], labels[::-1], NAMES, **options)


def test_views_are_not_made_of_normalized_images(clip):
    images, labels = np.zeros((3, 32, 32, 3), np.float32), [0, 1, 2]
    with pytest.raises(
        PromptError, match=r"trains on 3 views of each image \(recipe, crop_color, "
    ):
        pj.fit("gopro", clip, images, labels, NAMES, epochs=1)
    assert pj.fit("coop", clip, images, labels, NAMES, epochs=1).predict(images)


def test_views_are_made_of_videos(clip, tmp_path):
    paths, labels = save(tmp_path / "data", videos=True)
    model = pj.fit("gopro", clip, paths, labels, NAMES, frames=FRAMES, epochs=1)
    assert model.predict(paths[:2]).logits.shape == (1, 2, len(NAMES))


def test_statistics_of_all_views_are_cached(clip, tmp_path):
    save(tmp_path / "data")
    config = experiment_on(tmp_path / "data", clip, "gopro", 0)
    config.cached_views = 2
    results = experiment.run(config, tmp_path / "run")
    assert results["features"] == "cached: 2 augmented views of each training image"


def test_a_resume_dir_that_cannot_be_created_is_reported(clip, tmp_path):
    paths, labels = save(tmp_path / "data")
    with pytest.raises(PromptError, match="resume_dir=.*0.png cannot be created: File exists"):
        pj.fit("coop", clip, paths, labels, NAMES, epochs=1, resume_dir=paths[0])


def test_a_diverged_fit_names_the_checkpoint_before_it(clip, tmp_path, monkeypatch):
    paths, labels = save(tmp_path / "data")
    monkeypatch.setattr("prompt_jax.models.fitting.CHECKPOINT_EVERY", 1)
    options = {"epochs": 9, "batch_size": 4, "learning_rate": 1e30, "resume_dir": tmp_path / "kept"}
    with pytest.raises(PromptError, match=r"diverged at step (\d).*1e[+]30; the .* another resume"):
        pj.fit("coop", clip, paths, labels, NAMES, **options)


def test_progress_is_shown_from_the_first_step(clip, tmp_path, monkeypatch):
    reported = []

    class Bar:
        def __enter__(self):
            return lambda done, words: reported.append((done, words))

        def __exit__(self, *details):
            pass

    paths, labels = save(tmp_path / "data")
    monkeypatch.setattr(loop.progress, "bar", lambda title, total, start: Bar())
    pj.fit("coop", clip, paths, labels, NAMES, epochs=3, batch_size=4)
    # The first and the last step are waited for; others are shown while the next is computed.
    assert [done for done, _ in reported] == [1, 1, 2, 3, 4, 6]
    assert reported[-1][1].startswith("loss ")
