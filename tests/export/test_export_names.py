"""Exported models match classes and clean texts like the library, for any spelling."""

import dataclasses
from typing import Any

import exported
import needs_torch  # noqa: F401
import numpy as np
import pytest
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import largest_difference
from test_class_names import NAMES, OLD

from prompt_jax import methods
from prompt_jax.clip import tokenizer
from prompt_jax.clip.vocabulary import bpe
from prompt_jax.errors import PromptError
from prompt_jax.export import source, to_onnx, writing
from prompt_jax.export.torch_parts import classifier, names
from prompt_jax.text import class_names
from prompt_jax.text.class_names import Classes

REPEATED = ("cat", "missile", "Boeing 737-800", "Missile_", "missile", "St. Bernard")
IMAGES = np.random.default_rng(5).standard_normal((5, 16, 16, 3)).astype(np.float32)
CLASS_LISTS = st.lists(NAMES | st.sampled_from(["ant", "Ant", "ant "]), max_size=6)
often = settings(deadline=None, derandomize=True, database=None, max_examples=300)


def load(folder, model):
    writing.write(folder, model, exported.FROZEN)
    return to_onnx.load(folder, model, exported.FROZEN)


def differ(model, saved, asked=None):
    """Returns the largest difference between the logits of an exported model and JAX's."""
    expected = np.asarray(exported.logits_of(saved, IMAGES, asked))
    with torch.no_grad():
        found = model.iterations(torch.tensor(IMAGES).permute(0, 3, 1, 2)).numpy()
    assert np.ptp(expected, axis=-1).max() > 0.1
    return largest_difference(found, expected)


def trained(name, class_names=REPEATED, **settings):
    return dataclasses.replace(exported.train(name, **settings), class_names=class_names)


@often
@given(known=CLASS_LISTS, asked=CLASS_LISTS, template=st.sampled_from(["{}.", "a photo of a {}."]))
def test_classes_are_matched_like_in_the_library(known, asked, template):
    expected = class_names.find(Classes(tuple(known)), Classes(tuple(asked)))
    assert names.find(known, asked) == expected
    assert names.distinct(asked) == class_names.distinct(asked)
    for name in asked:
        assert names.fill(template, name) == class_names.fill(template, name)
        assert names.words(names.spaced(name)) == class_names.key(name)


METHODS = [("tip_adapter", {}), ("gda", {}), ("coop", {"class_specific": True})]


@pytest.mark.parametrize(("name", "settings"), METHODS)
def test_two_classes_with_one_name_stay_two_classes(tmp_path, name, settings):
    """Tests ImageNet's two "missile" and two "sunglasses", each with its own shots."""
    saved = trained(name, **settings)
    model = load(tmp_path, saved)
    assert model.trained.tolist() == [*range(6)]
    assert differ(model, saved) <= 1e-4
    asked = ("St.  bernard", "MISSILE", "Cat", "missile", "missile")
    model.set_classes(asked)
    assert model.trained.tolist() == [5, 1, 0, 3, 4]
    assert differ(model, saved, asked) <= 1e-4
    with pytest.raises(ValueError, match="class 'missile' matches several"):
        model.set_classes(["cat", "missile"])
    with pytest.raises(PromptError, match="is ambiguous: several training classes"):
        exported.task_of(saved, ("cat", "missile"))
    answers = model.predict([exported.Image.new("RGB", (20, 20))], top_k=9)
    assert {label for label, _ in answers[0]} >= {"MISSILE", "missile (label 3)"}


def test_methods_without_class_data_accept_ambiguous_names(tmp_path):
    saved = trained("zero_shot")
    model = load(tmp_path, saved)
    model.set_classes(["cat", "missile"])
    assert model.trained.tolist() == [0, -1]
    assert differ(model, saved, ("cat", "missile")) <= 1e-4


@pytest.mark.parametrize("name", ["tip_adapter", "gda", "pro_mpt", "cocoop", "coop"])
def test_a_trained_class_is_recognized_in_any_spelling(tmp_path, name):
    """Tests that another spelling is not another class with its own tokens and no shots."""
    saved = exported.train(name)
    model = load(tmp_path, saved)
    asked = ("Sea Horse", "CAT", "boeing_737-800", "oil\tpainting", "Dog ", "St. Ｂernard")
    model.set_classes(asked)
    assert model.trained.tolist() == [1, 0, 2, 3, 4, 5]
    assert differ(model, saved, asked) <= 1e-4


class Ids:
    """A tokenizer like instant_clip_tokenizer: ids without SOS and EOT."""

    def encode(self, text):
        return bpe.encode(text)


def with_ends(text):
    return [tokenizer.SOS, *bpe.encode(text), tokenizer.EOT]


@pytest.fixture(scope="module")
def other_tokenizers():
    """Returns common tokenizers, none of which cleans a text as in training."""
    merges = bpe.read_merges()
    clip = transformers.CLIPTokenizer(bpe.number_pieces(merges), merges)
    backend = clip.backend_tokenizer
    assert isinstance(backend, tokenizers.Tokenizer)
    return [clip, backend, Ids(), with_ends]


@settings(deadline=None, derandomize=True, database=None, max_examples=200)
@given(text=NAMES | OLD)
def test_texts_are_cleaned_for_any_tokenizer(other_tokenizers, text):
    try:
        expected = [tokenizer.SOS, *tokenizer.encode(text), tokenizer.EOT]
    except PromptError:
        return
    for tokenize in other_tokenizers:
        assert classifier.encode(tokenize, text) == expected, tokenize


def test_typographic_texts_are_cleaned_like_in_the_library(tmp_path, other_tokenizers):
    """Tests typographic quotes, NFD, an entity and a ligature, which change logits by up to 3."""
    saved = exported.train("zero_shot")
    model = load(tmp_path, saved)
    asked = ("cat", "bird’s nest", "cafe\u0301", "salt &amp; pepper", "ﬁsh", "“owl”")
    for tokenize in other_tokenizers:
        model.set_classes(asked, tokenize)
        assert differ(model, saved, asked) <= 1e-4


def test_invalid_texts_are_rejected(other_tokenizers):
    for text in ("<|endoftext|> cat", "<|START\x00OFTEXT|>"):
        with pytest.raises(ValueError, match="contains a special token of CLIP"):
            classifier.encode(other_tokenizers[0], text)


@pytest.mark.parametrize("wrong", ["", " _ ", 5, None])
def test_invalid_names_are_rejected(tmp_path, wrong):
    model = load(tmp_path, exported.train("zero_shot"))
    with pytest.raises(ValueError, match="is not a class name"):
        model.set_classes(["cat", wrong])


def test_every_method_with_class_data_declares_it():
    own = {name for name, one in methods.METHODS.items() if one.adaptation or one.labeling}
    own |= {"coop"}
    records = methods.RECORDS["images"]
    for name in [name for name in records if (records[name].export or name) in source.methods()]:
        module: dict[str, Any] = {"__name__": name}
        # Where gamma is 0, a prediction of CapS-Adapter is of one image, which can be exported.
        prompts = {"gamma": np.float32(0)}
        model = dataclasses.replace(exported.train("zero_shot"), method=name, prompts=prompts)
        exec(writing.code_of(model), module)
        says = module["load"].__self__.has_class_data is not module["Classifier"].has_class_data
        assert says == (name in own), name
