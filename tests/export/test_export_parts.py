"""Exported models read weights of all layouts, prepare images, and take other classes."""

import dataclasses
import functools
import importlib.util
import json
import warnings

import exported
import jax
import needs_torch  # noqa: F401
import numpy as np
import pytest
import torch
from PIL import Image
from test_loading import torchscript

from prompt_jax.clip import loading, tokenizer
from prompt_jax.clip.checkpoints import layouts
from prompt_jax.export import source, writing
from prompt_jax.inputs import preparation
from prompt_jax.inputs.images import transforms
from prompt_jax.inputs.images.decoding import open_image
from prompt_jax.inputs.images.preprocessing import MIDDLES, Preprocessing

LAYERS = exported.CLIP.config.image_layers, exported.CLIP.config.text_layers
OPENAI = {
    name: torch.tensor(array)
    for name, array in layouts.from_tree(
        layouts.openai_layout(*LAYERS), jax.tree.map(np.asarray, exported.FROZEN)
    ).items()
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Returns an export of CoOp with the backbone."""
    folder = tmp_path_factory.mktemp("export")
    model = exported.train("coop", context_length=4)
    writing.write(folder, model, exported.FROZEN, with_backbone=True)
    return folder


@pytest.fixture(scope="module")
def code(folder):
    """Returns its model.py, imported."""
    spec = importlib.util.spec_from_file_location("exported_coop", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model(code, folder):
    return code.load(folder, OPENAI)


def same(weights):
    assert weights.keys() == OPENAI.keys()
    return all(torch.equal(weights[name], array) for name, array in OPENAI.items())


def with_scalars():
    scalars = dict.fromkeys(("input_resolution", "context_length", "vocab_size"), torch.tensor(1))
    return OPENAI | scalars | {"text_model.embeddings.position_ids": torch.arange(77)}


def open_clip():
    text = ("transformer.", "token_", "positional", "ln_final", "text_projection")
    return {f"text.{n}" if n.startswith(text) else n: array for n, array in OPENAI.items()}


@pytest.mark.parametrize("make", [lambda: OPENAI, with_scalars, open_clip])
def test_state_dicts_are_read(code, make):
    assert same(code.read_weights(make()))


def test_files_are_read(code, folder, tmp_path):
    assert same(code.read_weights(folder / "clip"))
    assert same(code.read_weights(str(folder / "clip" / "model.safetensors")))
    torch.save(OPENAI, tmp_path / "state.pt")
    assert same(code.read_weights(tmp_path / "state.pt"))
    torch.save({"state_dict": OPENAI}, tmp_path / "pytorch_model.bin")
    assert same(code.read_weights(tmp_path))


def test_a_file_as_published_by_openai_is_read(code, tmp_path):
    torchscript(OPENAI, tmp_path / "ViT-B-16.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        weights = code.read_weights(tmp_path / "ViT-B-16.pt")
    assert all(torch.equal(weights[name], OPENAI[name].half().float()) for name in OPENAI)


@pytest.mark.slow
def test_the_model_of_transformers_is_read(code, folder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPModel.from_pretrained(folder / "clip")
    assert same(code.read_weights(theirs))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer1.weight": torch.zeros(1)}, "not the weights of a CLIP with a plain ViT"),
        ("/nowhere/clip.pt", "no such file or directory"),
        (OPENAI | {"visual.proj": 1.1 * OPENAI["visual.proj"]}, "these are other weights"),
    ],
)
def test_other_weights_are_rejected(code, folder, given, message):
    with pytest.raises(ValueError, match=message):
        code.load(folder, given)


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        ("RGB", (40, 33)),
        ("RGB", (16, 16)),
        ("RGB", (3, 900)),
        ("L", (50, 20)),
        ("RGBA", (31, 77)),
        ("P", (20, 21)),
        ("I;16", (25, 30)),
    ],
)
def test_images_are_prepared_as_in_the_library(code, tmp_path, mode, size):
    rng = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 2**16, size[::-1], dtype=np.uint16))
    else:
        pixels = rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / "image.png")
    expected = transforms.test_transform(open_image(tmp_path / "image.png"), 16)
    inputs = dataclasses.asdict(preparation.Inputs.of(16))
    found = code.preprocess(Image.open(tmp_path / "image.png"), inputs)
    assert (found.permute(1, 2, 0).numpy() == expected).all()


@pytest.mark.parametrize("middle", MIDDLES)
@pytest.mark.parametrize("size", [(5, 9), (9, 12), (11, 37), (40, 7)])
def test_padding_is_as_in_the_library(code, size, middle):
    pixels = np.random.default_rng(0).integers(1, 256, (*size[::-1], 3), dtype=np.uint8)
    image, prepared = Image.fromarray(pixels), Preprocessing(resize="none", middle=middle)
    expected = transforms.test_transform(image, 16, None, prepared)
    found = code.preprocess(image, dataclasses.asdict(preparation.Inputs.of(16, prepared)))
    assert (found.permute(1, 2, 0).numpy() == expected).all()


class WithoutEnds:
    """A tokenizer like instant_clip_tokenizer's."""

    def encode(self, text):
        return tokenizer.encode(text)


def padded(text):
    """Tokenizes like OpenAI's `clip.tokenize`."""
    return torch.tensor(tokenizer.tokenize([text]))


def hugging_face(text):
    return {"input_ids": [tokenizer.SOS, *tokenizer.encode(text), tokenizer.EOT]}


@pytest.mark.parametrize("tokenize", [WithoutEnds(), padded, hugging_face])
def test_other_classes_need_a_tokenizer(model, tokenize):
    model.set_classes(["owl", "cat"], tokenize)
    text = [tokenizer.SOS, *tokenizer.encode("owl."), tokenizer.EOT]
    assert model.tokens("{}.").tolist()[0] == text
    assert model.trained.tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("names", "tokenize", "message"),
    [
        ([], None, "at least one class name"),
        ("cat", None, "a list of at least one class name"),
        (["cat", "owl"], None, "no token ids of class 'owl', .* pass set_classes a tokenizer"),
        (["cat", "owl " * 80], WithoutEnds(), "takes 87 tokens, more than the text tower's 77"),
        (["cat", "owl"], tokenizer.encode, "without CLIP's SOS or EOT"),
        (["cat", "owl"], lambda text: [49406, 49409, 49407], "; CLIP's largest id is 49407"),
    ],
)
def test_an_error_in_classes_leaves_the_model_unchanged(model, names, tokenize, message):
    before = dict(model.named_buffers())
    with pytest.raises(ValueError, match=message):
        model.set_classes(names, tokenize)
    assert tuple(model.names) == exported.CLASSES
    after = dict(model.named_buffers())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], array) for name, array in before.items())


def test_class_specific_contexts_reject_other_classes(code, folder, tmp_path):
    own = exported.train("coop", context_length=4, class_specific=True)
    writing.write(tmp_path, own, exported.FROZEN)
    model = code.load(tmp_path, OPENAI)
    model.set_classes(["dog", "cat"])
    with pytest.raises(ValueError, match="none for classes that it was not trained on"):
        model.set_classes(["dog", "owl"], padded)


def test_predictions_do_not_depend_on_batches_or_on_paths(model, tmp_path):
    paths = sorted(exported.save_images(tmp_path / "images", 5).iterdir())
    answers = model.predict(paths, top_k=3)
    assert [len(answer) for answer in answers] == [3] * 5
    images = torch.stack([model.preprocess(Image.open(path)) for path in paths])
    best = model(images).softmax(dim=-1).max(dim=-1)
    assert [answer[0][0] for answer in answers] == [exported.CLASSES[k] for k in best.indices]
    np.testing.assert_allclose([answer[0][1] for answer in answers], best.values, rtol=1e-5)
    opened = model.predict(map(Image.open, map(str, paths)), top_k=99, batch_size=2)
    for one, other in zip(answers, opened, strict=True):
        assert len(other) == len(exported.CLASSES)
        assert [name for name, _ in one] == [name for name, _ in other[:3]]
    assert model.predict([]) == []


def test_the_file_contains_no_code_of_other_methods():
    coop, pro_mpt = map(source.assemble, ("coop", "pro_mpt"))
    assert "class CoOp(" in coop and "class ProMPT(" not in coop and "generate" not in coop
    assert "class ProMPT(" in pro_mpt and "class CoOp(" not in pro_mpt
    for text in (coop, pro_mpt):
        assert "import prompt_jax" not in text and "from prompt_jax" not in text
        named = ("Written by prompt_jax", writing.FORMAT)  # its origin, and the code that it shares
        assert "jax" not in functools.reduce(lambda left, one: left.replace(one, ""), named, text)


def test_every_part_can_be_assembled():
    assert source.methods() >= {"coop", "frozen", "tuned", "vop_f_c"}
    for name in source.methods():
        compile(source.assemble(name), name, "exec")


def test_config_is_plain_json(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["format"] == writing.FORMAT
    assert loading.CLIPConfig(**config["sizes"]) == exported.CLIP.config
