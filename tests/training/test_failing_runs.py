"""Runs that diverge, are rejected or lose their directory keep only valid results."""

import re
import shutil

import jax
import numpy as np
import pytest
import tiny

from data_pipelines.batches.reading import Batches
from data_pipelines.errors import DataError
from experiments.run import experiment, training
from prompt_jax.errors import PromptError
from prompt_jax.training import train

pytestmark = pytest.mark.slow
STEPS_PER_EPOCH = 3


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Returns the directories of the tiny CLIP and of the data set."""
    folder = tmp_path_factory.mktemp("start")
    return tiny.save_clip(folder / "clip"), tiny.save_caltech101(folder / "data")


def coop(start, epochs=2):
    config = tiny.small_config("coop", *start, context_length=2)
    config.epochs = epochs
    return config


def newest(workdir):
    """Returns the newest checkpoint's step."""
    return max(int(path.name) for path in (workdir / "checkpoints").iterdir())


def test_a_directory_removed_during_the_run_is_reported(start, tmp_path, monkeypatch):
    for step in (1, 6):  # before the first checkpoint, and before the last

        class Removing(training.Log):
            def write(self, number, metrics, step=step):
                if number == step:
                    shutil.rmtree(tmp_path / "run")
                return super().write(number, metrics)

        monkeypatch.setattr(training, "Log", Removing)
        with pytest.raises(PromptError, match=r"run was removed or replaced during its run"):
            experiment.run(coop(start), tmp_path / "run")
        assert not (tmp_path / "run/results.json").exists()
        shutil.rmtree(tmp_path / "run", ignore_errors=True)


def test_unreadable_images_lose_no_finished_step(start, tmp_path, monkeypatch):
    def failing(batches):
        if batches.get_state() == {"next_index": 3}:
            raise DataError("the data worker 1 ended with exit code -9")
        return following(batches)

    following = Batches.__next__
    config = coop(start)
    config.checkpoint_every = 100
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "__next__", failing)
        with pytest.raises(DataError, match="exit code -9"):
            experiment.run(config, tmp_path / "run")
    assert newest(tmp_path / "run") == 3
    experiment.run(config, tmp_path / "run")
    assert newest(tmp_path / "run") == 6


@pytest.mark.parametrize("rate", [1e6, 1e20, 1e38])
def test_a_diverged_state_is_not_saved_and_its_step_is_named(start, tmp_path, rate):
    # At 1e6, weight decay alone diverges while the loss stays constant.
    config = coop(start, epochs=8)
    config.learning_rate, config.checkpoint_every, config.log_every = rate, 1, 1000
    with pytest.raises(PromptError) as error:
        experiment.run(config, tmp_path)
    step = int(re.search(r"training diverged at step (\d+): ", str(error.value))[1])
    assert f"the checkpoint of step {step - 1} is still valid" in str(error.value)
    assert newest(tmp_path) == step - 1 >= STEPS_PER_EPOCH
    for name, array in tiny.prompts_of(tmp_path).items():
        assert np.isfinite(array).all(), name


def test_the_first_diverged_step_is_named_for_any_logging_interval(start, tmp_path):
    words = []
    for log_every, checkpoint_every in ((1, 1000), (5, 1000), (1000, 7), (1000, 1000)):
        config = coop(start, epochs=4)
        config.learning_rate = 1e20
        config.log_every, config.checkpoint_every = log_every, checkpoint_every
        with pytest.raises(PromptError) as error:
            experiment.run(config, tmp_path / f"{log_every}-{checkpoint_every}")
        words.append(str(error.value).split(":")[0])
    assert len(set(words)) == 1, words


@pytest.mark.parametrize(
    ("message", "much"),
    [
        (
            "INTERNAL: Error dispatching computation: Out of memory allocating 66935827536 bytes.",
            66.9,
        ),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2500000000 bytes.", 2.5),
    ],
)
def test_insufficient_memory_names_the_settings_to_lower(
    start, tmp_path, monkeypatch, message, much
):
    def failing(*_):
        raise jax.errors.JaxRuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(train, "make_step", lambda *_: failing)
        expected = rf"not enough memory for a step \({much} GB at once\); lower .*batch_size=2, "
        with pytest.raises(PromptError, match=expected):
            experiment.run(coop(start), tmp_path)
    smaller = coop(start)
    smaller.batch_size = 1
    experiment.run(smaller, tmp_path)  # the directory is released


def test_a_rejected_run_leaves_the_directory_to_the_corrected_one(start, tmp_path):
    refused = coop(start)
    refused.settings.context_length = 90
    with pytest.raises(PromptError, match="takes 95 tokens, 90 of them"):
        experiment.run(refused, tmp_path / "run")
    assert not (tmp_path / "run/run.json").exists()
    diverging = coop(start, epochs=4)
    diverging.learning_rate, diverging.checkpoint_every = 1e30, 1000
    with pytest.raises(PromptError, match="training diverged"):
        experiment.run(diverging, tmp_path / "run")
    experiment.run(coop(start), tmp_path / "run")
    with pytest.raises(PromptError, match="holds another run"):
        experiment.run(diverging, tmp_path / "run")


def test_replaced_images_are_another_run(start, tmp_path):
    shutil.copytree(start[1], tmp_path / "data")
    config = tiny.small_config("zero_shot", start[0], tmp_path / "data")
    experiment.run(config, tmp_path / "run")
    experiment.run(config, tmp_path / "run")  # already finished
    (image,) = (tmp_path / "data").rglob("sea_horse/image_0005.jpg")  # of the test images
    image.write_bytes(image.read_bytes() + b"more")
    with pytest.raises(PromptError, match=r"on other images .*\(pictures.contents.tests.base: "):
        experiment.run(config, tmp_path / "run")
    image.unlink()  # then its images are unknown
    assert experiment.run(config, tmp_path / "run")["method"] == "zero_shot"


def test_a_damaged_run_json_has_a_message_with_a_working_remedy(start, tmp_path):
    with pytest.raises(PromptError, match="vectors|tokens"):
        config = coop(start)
        config.settings.context_length = 90
        experiment.run(config, tmp_path)
    experiment.run(coop(start), tmp_path)
    (tmp_path / "results.json").unlink()
    owner = tmp_path / "run.json"
    for content in (owner.read_text().replace('"epochs": 2', '"epochs": 3'), "{}", "[" * 10**5):
        owner.write_text(content)
        with pytest.raises(PromptError, match=r"run.json is damaged, .*delete this file"):
            experiment.run(coop(start), tmp_path)
    owner.unlink()
    experiment.run(coop(start), tmp_path)
