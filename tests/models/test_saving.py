"""A model's two files after a full disk or a kill: new, unchanged, or none."""

import dataclasses
import json
import random
import resource
import shlex
import signal
import subprocess
import sys
import time

import hypothesis
import jax
import numpy as np
import pytest
import test_hostile_models
import tiny
from hypothesis import strategies

import prompt_jax as pj
from prompt_jax import errors
from prompt_jax.errors import PromptError
from prompt_jax.exchange import writing
from prompt_jax.methods.images import coop
from prompt_jax.models import saved, saved_arrays, saved_fields
from prompt_jax.storage import schemas

FILES = {saved.MODEL, saved.PROMPTS}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Returns the directory of the tiny CLIP."""
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def model(clip):
    """Returns a model with 2 kB of prompts."""
    return test_hostile_models.model_of(clip, "coop")


@pytest.fixture
def small_disk():
    """Limits the size of written files."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def names_in(folder):
    """Returns the names in a directory, hidden files included."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_no_part_of_a_new_model(clip, model, tmp_path, small_disk, there):
    saved.write(tmp_path, model)
    whole = pj.load(tmp_path)
    place = tmp_path / "kept" / "model"
    place.parent.mkdir()
    if there:
        place.mkdir()
    small_disk(1000)
    with pytest.raises(OSError, match="File too large"):
        whole.save(place)
    small_disk(resource.RLIM_INFINITY)
    assert names_in(place.parent) == ({"model"} if there else set()) and not names_in(place)
    whole.save(place)
    assert names_in(place) == FILES and pj.load(place).class_names == tiny.CLASSES


@pytest.mark.parametrize("room", [1000, 5000], ids=["neither fits", "prompts alone fit"])
def test_a_full_disk_leaves_the_earlier_model(model, tmp_path, small_disk, room):
    saved.write(tmp_path, model)
    other = dataclasses.replace(model, trained={"seed": 2, "note": "x" * 9000})
    small_disk(room)
    with pytest.raises(OSError, match="File too large"):
        saved.write(tmp_path, other)
    small_disk(resource.RLIM_INFINITY)
    assert names_in(tmp_path) == FILES
    assert saved.read(tmp_path).trained == model.trained


WRITES = """
import dataclasses, pathlib, shutil, sys
from prompt_jax.storage import files; from prompt_jax.models import saved

place = pathlib.Path(sys.argv[1])
model = saved.read(place / "first")
saved._check = lambda content: None  # which takes most of the time, and writes nothing
print("ready", flush=True)
number = 0
while True:
    number += 1
    trained = {"seed": number, "note": "x" * (number % 7 * 1000)}
    prompts = {"context": model.prompts["context"] + number}
    other = dataclasses.replace(model, trained=trained, prompts=prompts)
    saved.write(place / "first", other)
    with files.filling(place / f"new{number % 3}") as aside:
        saved.write(aside, model)
    shutil.rmtree(place / f"new{number % 3}")
"""


@pytest.mark.slow
def test_a_killed_process_leaves_a_complete_model_or_none(model, tmp_path):
    place = tmp_path / "models"
    (place / "first").mkdir(parents=True)
    saved.write(place / "first", model)
    times = random.Random(0)
    seeds = set()
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES, str(place)],
            cwd=tiny.REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        time.sleep(times.uniform(0.05, 1.0))
        process.kill()
        process.communicate()
        try:
            seeds.add(saved.read(place / "first").trained["seed"])
        except PromptError as error:  # between the replacements of its two files
            assert "does not match model.json" in str(error)
            saved.write(place / "first", model)
        for folder in place.glob("new*"):
            assert names_in(folder) in (set(), FILES, {saved.PROMPTS})
            if saved.is_saved(folder):
                saved.read(folder)
    assert seeds
    saved.write(place / "first", model)
    assert names_in(place / "first") == FILES


def test_models_that_read_would_reject_are_not_written(model, tmp_path):
    nan = jax.tree.map(lambda array: array * np.float32(np.nan), model.prompts)
    for changed, words in (
        ({"prompts": nan}, "prompts.context: it has NaN"),
        ({"dtype": "float16"}, "dtype: 'float16'"),
        ({"settings": {"context_length": 7}}, "prompts.arrays.context"),
    ):
        with pytest.raises(PromptError, match=f"cannot be saved: {words}"):
            saved.write(tmp_path, dataclasses.replace(model, **changed))
    assert not names_in(tmp_path)


@hypothesis.given(strategies.text())
def test_a_quoted_text_is_one_word_of_a_command_line(text):
    quoted = errors.quote(text)
    assert "\n" not in quoted
    assert all(each.isprintable() or each in "\u200c\u200d" for each in quoted)
    if text.isprintable():
        assert shlex.split(quoted) == [text]
    else:
        assert len(shlex.split(quoted)) == 1


@pytest.mark.parametrize("words", ["$(touch x)", '"; touch x; "', "`touch x`", "'a'", "a b", ""])
def test_texts_of_a_model_are_quoted_in_printed_commands(model, words):
    settings = dict(model.settings) | {"context_words": words, "name_position": "end"}
    one = dataclasses.replace(model, method="maple", settings=settings | {"context_length": 0})
    one = dataclasses.replace(one, prompts=model.prompts | {"deep_context": np.zeros((2, 4, 32))})
    found = shlex.split(writing.options(one))
    assert found[found.index("TRAINER.MAPLE.CTX_INIT") + 1] == words


def test_the_types_of_a_settings_class_are_its_schema():
    made = schemas.make(coop.Settings, {"context_length": 3}, "settings")
    assert made == coop.Settings(context_length=3)
    assert saved_fields.MOST_BYTES < 2**30
    assert json.dumps(dataclasses.asdict(made))


def test_larger_arrays_than_an_untrusted_model_may_have_are_not_loaded(monkeypatch):
    imagenet = {
        "features": "float32[160000, 1024]",
        "labels": "float32[160000]",
        "alpha": "float32[]",
    }
    saved_arrays.check_loaded(imagenet, "gda")
    vast = {**imagenet, "features": "float32[1000000, 1024]"}
    words = "they have 4,096,640,004 bytes; at most 805,306,368 are loaded. .*MOST_GIB=4"
    with pytest.raises(errors.PromptError, match=words):
        saved_arrays.check_loaded(vast, "gda")
    saved_arrays.check_loaded({"visual": "float32[1000000, 1024]"}, "vifi_clip")
    monkeypatch.setenv(saved_arrays.ALLOWED, "4")
    saved_arrays.check_loaded(vast, "gda")
    monkeypatch.setenv(saved_arrays.ALLOWED, "a lot")
    with pytest.raises(errors.PromptError, match="at most 805,306,368"):
        saved_arrays.check_loaded(vast, "gda")
