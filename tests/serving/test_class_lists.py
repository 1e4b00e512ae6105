"""Predictions for lists of classes that change: same logits, no new program."""

import contextlib
import dataclasses
import re
import threading
import warnings

import jax
import numpy as np
import pytest
from tiny import REPOSITORY, save_clip

import prompt_jax as pj
from prompt_jax import methods
from prompt_jax.errors import PromptError
from prompt_jax.evaluation import class_lists
from prompt_jax.models.model import Model

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 40, 48, 3), np.uint8)
ANIMALS = ["sea horse", "cat", "dog", "garfield", "goat"]
THINGS = ["mug", "fork", "a garden chair", "knife", "pagoda", "plate"]
COMPILED = "/jax/core/compile/backend_compile_duration"
FILLED = [name for name, one in methods.METHODS.items() if one.spare_from(one.Settings())]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return pj.load(save_clip(tmp_path_factory.mktemp("clip")))


COUNTS: list[list[float]] = []


def listen(event, seconds, **_):
    if event == COMPILED:
        for found in COUNTS:
            found.append(seconds)


jax.monitoring.register_event_duration_secs_listener(listen)


@contextlib.contextmanager
def counting():
    """Yields a list with one entry for each program that is compiled."""
    COUNTS.append([])
    try:
        yield COUNTS[-1]
    finally:
        COUNTS.pop()


def untrained(bare: Model, name: str, **settings) -> Model:
    """Returns a model with the initial prompts of two classes."""
    method = methods.get(name)
    chosen = method.Settings(**settings)
    tower = methods.tower_for(method, bare.clip, "images")
    task = methods.make_task(method, tower, bare.frozen, ANIMALS[:2], chosen)
    prompts = method.init(jax.random.key(0), task)
    if method.adaptation:
        features = jax.random.normal(jax.random.key(1), (1, 4, 16))
        prompts = method.adaptation.make(prompts, task, features, np.array([0, 1, 0, 1]))
    own = {"method": method, "settings": chosen, "prompts": prompts, "_tasks": {}}
    return dataclasses.replace(bare, name=name, class_names=tuple(ANIMALS[:2]), **own)


@pytest.mark.parametrize("name", ["cocoop", "pro_mpt", "tip_adapter"])
def test_classes_that_fill_up_a_list_change_no_logits(bare, name):
    settings = {"vision_prompts": 3, "vision_depth": 1} if name == "pro_mpt" else {}
    model = untrained(bare, name, **settings)
    plain = model.method._replace(spare_from=methods.method.zero)
    expected = dataclasses.replace(model, method=plain, _tasks={}).predict(PIXELS, ANIMALS)
    found = model.predict(PIXELS, ANIMALS)
    assert found.logits.shape == expected.logits.shape
    np.testing.assert_allclose(found.logits, expected.logits, atol=2e-5)
    [(task, _)] = model._tasks.values()
    assert len(task.trained) == 6 and task.real.tolist() == [True] * 5 + [False]


def test_methods_whose_classes_meet_are_not_filled_up():
    assert {"gda", "fudd", "nola", "caps_adapter"}.isdisjoint(FILLED)
    assert {"zero_shot", "coop", "cocoop", "maple", "pro_mpt", "tip_adapter"} <= {*FILLED}
    [listed] = [
        part
        for part in (REPOSITORY / "docs/using.md").read_text(encoding="utf-8").split("\n- ")
        if part.startswith("**Other classes need no other program**")
    ]
    assert {*re.findall("`([a-z_]+)`", listed)} - {"vision_prompts"} == {*FILLED}
    assert not methods.get("coop").spare_from(methods.get("coop").Settings(class_specific=True))


@pytest.mark.parametrize("name", ["zero_shot", "pro_mpt"])
def test_another_list_of_classes_needs_no_program(bare, name):
    settings = {"vision_prompts": 3, "vision_depth": 1} if name == "pro_mpt" else {}
    model = untrained(bare, name, **settings)
    model.warm_up((1, 3), ANIMALS)
    with counting() as programs:
        assert len(model.predict(PIXELS[:3], THINGS)) == 3
        model.predict(PIXELS[0], THINGS[:5])
        assert not programs
        model.predict(PIXELS[0], [f"thing {n}" for n in range(7)])
        assert programs


def test_videos_need_no_program_either(bare):
    model = dataclasses.replace(
        bare, inputs=dataclasses.replace(bare.inputs, frames=2, frame_rule="even"), _tasks={}
    )
    videos = PIXELS[None].repeat(2, 0)
    before = model.predict(videos, ANIMALS).logits
    with counting() as programs:
        model.predict(videos, THINGS)
        np.testing.assert_array_equal(model.predict(videos, ANIMALS).logits, before)
    assert not programs


def test_encoders_are_filled_up_too(bare):
    encoders = methods.get_encoders("vop")
    method = methods.recognize(encoders)
    assert method.spare_from(method.Settings()) == 1
    made = []
    for filled in (True, False):
        chosen = method.Settings()
        task = methods.make_task(method, bare.clip, bare.frozen, ANIMALS, chosen)
        prompts = method.init(jax.random.key(0), task)
        how = method, prompts, bare.clip, bare.frozen, chosen, "{}"
        made.append(class_lists.make(*how, ANIMALS, (), may_fill=filled)[1])
    np.testing.assert_allclose(made[0][:5], made[1], atol=2e-5)
    assert len(made[0]) == 6


def test_sizes_of_lists_are_few_and_near():
    sizes = {class_lists.fill_up(number) for number in range(1, 1001)}
    assert sorted(sizes)[:8] == [4, 6, 8, 12, 16, 24, 32, 48] and len(sizes) == 17
    for number in range(5, 1001):
        assert number <= class_lists.fill_up(number) < 1.5 * number


def test_threads_share_the_tasks_of_lists(bare):
    model = dataclasses.replace(bare, _tasks={})
    expected = {len(names): bare.predict(PIXELS, names).logits for names in (ANIMALS, THINGS)}
    wrong = []

    def ask(names):
        for _ in range(5):
            found = model.predict(PIXELS, names).logits
            if not np.array_equal(found, expected[len(names)]):
                wrong.append(names)

    threads = [threading.Thread(target=ask, args=(one,)) for one in (ANIMALS, THINGS) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(model._tasks) == 2


def test_warming_up_is_checked_and_says_nothing(bare):
    with pytest.raises(PromptError, match="batch_sizes=0 must be a whole number"):
        bare.warm_up((0,), ANIMALS)
    with pytest.raises(PromptError, match="no classes to choose from"):
        bare.warm_up()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bare.warm_up(classes=["cat"])


def test_some_images_are_computed_though_others_are_broken(bare, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    given = [PIXELS[0], tmp_path / "broken.jpg", b"", PIXELS[1].astype(int), None, PIXELS[2]]
    reported = []
    found = bare.predict(given, ANIMALS, on_error=reported.append)
    assert [bad.image for bad in reported] == [str(given[1]), "#2", "#3", "#4"]
    assert found.labels[[1, 2, 3, 4]].tolist() == [-1] * 4 and list(found.errors) == [1, 2, 3, 4]
    whole = bare.predict(PIXELS[[0, 2]], ANIMALS).logits
    np.testing.assert_allclose(found.logits[:, [0, 5]], whole, atol=2e-5)
    features = bare.encode_images(given, on_error=reported.append)
    assert np.isnan(features).all(axis=1).tolist() == [False, True, True, True, True, False]
    assert np.isnan(bare.encode_images([b""], on_error=reported.append)).all()
    with pytest.raises(PromptError, match="on_error=3 must be a function"):
        bare.encode_images(PIXELS, on_error=3)


def test_a_saved_model_is_replaced_on_request_alone(bare, tmp_path):
    model, folder = untrained(bare, "coop", context_length=2), tmp_path / "pets"
    model.save(folder)
    other = untrained(bare, "coop", context_length=3)
    with pytest.raises(PromptError, match="already exists and holds a model; pass overwrite=True"):
        other.save(folder)
    (folder / "texts.json").touch()  # of an earlier model
    other.save(folder, overwrite=True)
    assert pj.load(folder).prompts["context"].shape[0] == 3
    assert {path.name for path in folder.iterdir()} == {"model.json", "prompts.safetensors"}
    (folder / "notes.txt").touch()
    with pytest.raises(PromptError, match=r"notes\.txt, which is not part of a saved model"):
        model.save(folder, overwrite=True)
    with pytest.raises(PromptError, match="name a new or empty directory"):
        model.save(tmp_path, overwrite=True)


def test_the_package_lists_what_users_call():
    assert dir(pj) == sorted(pj.__all__) and "Any" not in dir(pj)
