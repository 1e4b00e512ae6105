"""Model cards, and private fields that they exclude."""

import dataclasses
import json
import re

import huggingface_hub
import pytest
import tiny

from prompt_jax import methods
from prompt_jax.inputs.preparation import Inputs
from prompt_jax.models import cards
from prompt_jax.models.saved import Saved
from prompt_jax.storage import local_paths

NAME = "me/cats"
MODEL = Saved(
    method="coop",
    kind="images",
    task="classes",
    settings=dataclasses.asdict(methods.get("coop").Settings()),
    class_names=tiny.CLASSES,
    template="a photo of a {}.",
    backbone="ViT-B/16",
    backbone_hash="0123",
    activation="",
    dtype="float32",
    sizes=tiny.CONFIG,
    inputs=Inputs.of(32),
    trained={},
    prompts={},
)


@pytest.mark.parametrize(
    ("record", "left_out"),
    [
        ({"dataset": "caltech101", "note": "a and/or b, 1/2, 3 / 4, ~5"}, ()),
        ({"url": "https://example.org/a/b", "init_from": "hf:me/cats"}, ()),
        ({"init_from": "0123456789abcdef"}, ()),
        ({"accuracy": {"base": 1.5}, "chosen": {"alpha": [1, 2]}, "h": None, "lists": []}, ()),
        ({"init_from": "results/mine"}, ("init_from",)),
        ({"config": {"data.root": "images", "x": 1}}, ("config.data.root",)),
        ({"note": "made of /home/me/x.csv"}, ("note",)),
        (
            {"note": "see ~/x/y", "b": "../x", "c": "C:\\x", "d": "\\\\host\\x"},
            ("note", "b", "c", "d"),
        ),
        ({"lists": [{"a": "/x"}]}, ("lists",)),
        ({"accuracy": {"/home/me/x": 1.0}}, ("accuracy.a field named by a path",)),
        ({"made_of": "tests/fixtures"}, ("made_of",)),
    ],
)
def test_local_paths_are_removed(record, left_out, monkeypatch):
    monkeypatch.chdir(tiny.REPOSITORY)
    kept, found = local_paths.remove_paths(record)
    assert found == left_out
    if not left_out:
        assert kept == record
    text = json.dumps(kept)
    assert not any(word in text for word in ("/home", "x.csv", "results", "fixtures", "images"))


EVERYTHING = {
    "dataset": "emoji_scenes",
    "domain": "",
    "protocol": "base_to_novel",
    "shots": 16,
    "shots_per_class": [16, 16],
    "seed": 3,
    "accuracy": {"base": 91.25, "new": 80.0},
    "zero_shot": {"base": 85.0, "new": 82.0, "h": 83.47},
    "h": 85.26,
    "chosen": {"alpha": 1.5},
    "trainable_parameters": 8192,
    "epochs": 50,
    "learning_rate": 0.002,
    "date": "2026-02-03 14:05:06 UTC",
    "git_commit": "0123abc",
    "note": "a stand-in | of few",
    "config": {"optimizer": "sgd"},
}


@pytest.mark.parametrize(
    "trained", [{}, EVERYTHING, {"accuracy": 3, "h": "?", "seed": [1], "new": {}}]
)
@pytest.mark.parametrize(
    ("changed", "base", "pipeline"),
    [
        (
            {"backbone": "ViT-B/16"},
            "openai/clip-vit-base-patch16",
            "zero-shot-image-classification",
        ),
        ({"backbone": "embedded"}, None, "zero-shot-image-classification"),
        (
            {"backbone": "lab/tiny-clip", "kind": "videos", "method": "vop"},
            "lab/tiny-clip",
            "video-classification",
        ),
        (
            {"backbone": "lab/tiny-clip", "method": "of my own", "settings": {"x": 1}},
            "lab/tiny-clip",
            None,
        ),
    ],
)
def test_a_card_is_valid_on_the_hub(trained, changed, base, pipeline):
    model = dataclasses.replace(MODEL, trained=trained, **changed)
    text = cards.write(model, NAME, "mit")
    card = huggingface_hub.ModelCard(text)
    data = card.data.to_dict()
    assert data.get("base_model") == base and data["license"] == "mit"
    assert data["library_name"] == "prompt_jax" and model.method in data["tags"]
    assert pipeline in (None, data["pipeline_tag"])
    assert f'pj.load("hf:{NAME}")' in text and "accordion" in text
    if changed["backbone"] == "embedded" and not trained.get("note"):
        assert "**Note**: the embedded CLIP is a small model for tests" in text


def test_a_card_has_results_with_notes_on_their_reliability():
    model = dataclasses.replace(MODEL, trained=EVERYTHING)
    text = cards.write(model, NAME, "apache-2.0")
    for line in (
        "| base classes | 91.2 | 85.0 |",
        "| H, the harmonic mean of both | 85.3 | 83.5 |",
        "These results are from a single seed (3); other seeds give other results.",
        r"**Note**: a stand-in \| of few.",
        "| shots per class | 16 |",
        "| selected settings | alpha: 1.5 |",
        '`coop`: Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022',
        "Other classes can be passed",
    ):
        assert line in text
    bound = dataclasses.replace(model, settings=dict(model.settings) | {"class_specific": True})
    assert "Other classes are not supported" in cards.write(bound, NAME, "mit")


def test_every_method_has_its_paper():
    for records in methods.RECORDS.values():
        for record in records.values():
            model = dataclasses.replace(MODEL, method=record.name, kind=record.kind)
            text = cards.write(model, NAME, "mit")
            assert f"{record.title}, trained with prompt_jax" in text.replace("\\", "")
            assert re.search(r", ([A-Z]+|arXiv) 20\d\d$", record.paper)


HOSTILE = (
    "\n---\nlicense: mit\n---\n# Evil [x](http://e.org) <img src=x> www.e.org $$x$$ @me `|` \x1b[2J"
)


def test_untrusted_texts_are_not_markup():
    record = dict.fromkeys(("dataset", "note", "features", "date", "seed"), HOSTILE)
    model = dataclasses.replace(
        MODEL,
        class_names=(HOSTILE, "sea_horse"),
        trained=record | {"accuracy": {HOSTILE: 1.0}},
        method="mine" + HOSTILE.replace(":", ""),
        backbone="embedded",
    )
    text = cards.write(model, NAME, "apache-2.0")
    card = huggingface_hub.ModelCard(text)
    assert card.data.license == "apache-2.0" and text.count("\n---\n") == 1
    body = card.content.partition("\n---\n")[2] or card.text
    # Without code spans and escaped characters.
    bare = re.sub(r"\\.", "", re.sub(r"(?<!\\)`[^`]*`", "", body))
    for mark in ("# Evil", "[x](", "<img", "www.e", "$$", "@me", "http:", "\x1b"):
        assert mark not in bare
    assert r"sea\_horse" in body


def test_a_long_value_is_truncated():
    model = dataclasses.replace(MODEL, trained={"note": "a" * 5000})
    assert len(cards.write(model, NAME, "mit")) < 3000
