"""Checkpoints of the reference implementations are read, evaluated and written."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import needs_torch  # noqa: F401
import numpy as np
import pytest
import reference_learners as reference
import torch
from reference_learners import NAMES, ROWS, SIZES

import prompt_jax
from prompt_jax import methods
from prompt_jax.clip import CLIP, loading
from prompt_jax.errors import PromptError
from prompt_jax.exchange import reading, writing
from prompt_jax.models import saved


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return reference.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def torch_clip(clip_folder):
    return reference.video_of(clip_folder)


def are_equal(first, second):
    return jax.tree.all(jax.tree.map(np.array_equal, first, second))


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("row", ROWS)
def test_a_checkpoint_is_imported_as_a_model(row, half, clip_folder, torch_clip, tmp_path):
    kind, length, _, settings, _ = ROWS[row]
    path = reference.save_row(row, torch_clip, tmp_path, half, zipped=half)
    model = reading.read(path, reference.wanted(row, clip_folder))
    assert model.method == kind.__name__.lower()
    method = methods.get(model.method)
    expected = {"context_length": length, "context_words": "", **settings}
    assert model.settings == dataclasses.asdict(method.Settings(**expected))
    assert (model.kind, model.task, model.class_names) == ("images", "classes", NAMES)
    assert (model.sizes, model.inputs.image_size) == (SIZES, SIZES.image_size)
    assert model.trained["epoch"] == 50 and kind.__name__ in model.trained["by"]
    _, frozen = loading.load(clip_folder)
    task = methods.make_task(method, CLIP(SIZES), frozen, NAMES, method.Settings(**model.settings))
    shapes = jax.eval_shape(lambda: method.init(jax.random.key(0), task))
    assert jax.tree.map(jnp.shape, model.prompts) == jax.tree.map(jnp.shape, shapes)
    assert {array.dtype for array in jax.tree.leaves(model.prompts)} == {np.dtype(np.float32)}
    saved.write(tmp_path, model)
    again = saved.read(tmp_path)
    assert are_equal(again.prompts, model.prompts)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_logits_equal_those_of_the_reference(row, clip_folder, torch_clip, tmp_path):
    path = reference.save_row(row, torch_clip, tmp_path, half=True)
    saved.write(tmp_path, reading.read(path, reference.wanted(row, clip_folder)))
    model = prompt_jax.load(tmp_path)
    images = reference.images()
    found = model.predict(images).logits[-1]
    stacked = torch.tensor(np.stack([model.preprocess(image) for image in images]))
    with torch.no_grad():
        learner = reference.train(row, torch_clip, half=True).float()
        expected = learner.logits(torch_clip, stacked.permute(0, 3, 1, 2)).numpy()
    assert np.ptp(expected) > 0.1
    assert np.abs(found - expected).max() <= 1e-4


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("row", ROWS)
def test_a_written_checkpoint_is_bitwise_equal_to_the_one_read(
    row, half, clip_folder, torch_clip, tmp_path
):
    path = reference.save_row(row, torch_clip, tmp_path / "theirs", half)
    model = reading.read(path, reference.wanted(row, clip_folder))
    folder = tmp_path / "ours" / path.parent.name
    frozen = writing.load_backbone(model)
    writing.write(folder / "model.pth.tar-7", writing.to_state(model, frozen))
    theirs = torch.load(path, weights_only=False)["state_dict"]
    ours = torch.load(folder / "model.pth.tar-7")
    assert (ours["epoch"], ours["val_result"]) == (7, None)
    learner = [key for key in theirs if not key.startswith(("image_", "text_", "logit_"))]
    assert list(ours["state_dict"]) == learner
    for key, tensor in ours["state_dict"].items():
        assert tensor.dtype == torch.float32 and tensor.is_contiguous()
        assert torch.equal(tensor, theirs[key].float()), key
    again = reading.read(folder / "model.pth.tar-7", reference.wanted(row, clip_folder))
    assert again.settings == model.settings
    assert are_equal(again.prompts, model.prompts)


@pytest.mark.parametrize("row", ["coop of classes", "cocoop", "maple"])
def test_the_reference_loads_a_written_checkpoint(row, clip_folder, torch_clip, tmp_path):
    path = reference.save_row(row, torch_clip, tmp_path, half=True)
    model = reading.read(path, reference.wanted(row, clip_folder))
    state = writing.to_state(model, writing.load_backbone(model))
    writing.write(tmp_path / "model-best.pth.tar", state)
    written = torch.load(tmp_path / "model-best.pth.tar")["state_dict"]
    learner = reference.train(row, torch_clip)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.zero_()
    module = reference.registered(learner, torch_clip)
    # Like its load_model: the embedded words of the classes and the CLIP are its own.
    kept = {k: tensor for k, tensor in written.items() if not k.endswith(("_prefix", "_suffix"))}
    missing, unexpected = module.load_state_dict(kept, strict=False)
    assert not unexpected
    assert all(key.endswith(("_prefix", "_suffix")) for key in missing if "learner" in key)
    images = torch.randn(2, 3, SIZES.image_size, SIZES.image_size)
    with torch.no_grad():
        trained = reference.train(row, torch_clip, half=True).float()
        expected = trained.logits(torch_clip, images)
        np.testing.assert_allclose(learner.logits(torch_clip, images), expected, atol=1e-5)


@pytest.mark.parametrize("row", ["coop", "maple"])
def test_wrapped_and_bare_state_dicts_are_equal(row, clip_folder, torch_clip, tmp_path):
    path = reference.save_row(row, torch_clip, tmp_path)
    state = torch.load(path, weights_only=False)["state_dict"]
    plain = reading.read(path, reference.wanted(row, clip_folder)).prompts
    for name, content in {
        "module": {"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}},
        "bare": dict(state),
    }.items():
        torch.save(content, tmp_path / name)
        model = reading.read(tmp_path / name, reference.wanted(row, clip_folder))
        assert are_equal(model.prompts, plain), name
        assert model.trained["epoch"] is None


@pytest.mark.parametrize("row", ["coop", "maple", "maple from random"])
def test_class_names_are_decoded_from_the_embedded_words(row, clip_folder, torch_clip, tmp_path):
    path = reference.save_row(row, torch_clip, tmp_path, half=True)
    wanted = reference.wanted(row, clip_folder)._replace(class_names=None)
    model = reading.read(path, wanted)
    assert model.class_names == ("sea horse", "pagoda", "st . bernard ( dog )", "a 3 8 0")
    assert model.settings["context_words"] == ROWS[row].settings.get("context_words", "")


class Command:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("entry", ["state_dict", "optimizer", "scheduler", "more"])
@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_in_a_checkpoint_runs(entry, zipped, clip_folder, torch_clip, tmp_path):
    mark = tmp_path / "mark"
    hostile = {entry: {"ctx": Command(mark)}}
    path = reference.save_row("coop", torch_clip, tmp_path, zipped=zipped, **hostile)
    with pytest.raises(PromptError, match="it calls 'posix.system', which no tensor needs"):
        reading.read(path, reference.wanted("coop", clip_folder))
    assert not mark.exists()
