"""The nearest words of learned context vectors."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from experiments.report.blocks import Table
from experiments.report.sections import words
from prompt_jax.clip import tokenizer


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """Returns the tiny CLIP's embeddings."""
    return np.asarray(tiny.frozen_parameters()["text"]["token_embedding"])


def run_of(method: str, kind: str = "images"):
    """Returns the parts of a run that a section reads."""
    return SimpleNamespace(
        config=SimpleNamespace(method=method),
        plan=SimpleNamespace(train=SimpleNamespace(kind=kind, class_names=tiny.CLASSES)),
        backbone=SimpleNamespace(frozen=tiny.frozen_parameters()),
    )


def rows_of(section) -> list:
    """Returns the rows of the section's table."""
    (found,) = (block for block in section.blocks if isinstance(block, Table))
    assert all(len(row) == len(found.headers) for row in found.rows)
    return list(found.rows)


@pytest.mark.parametrize(
    "text", ["a photo of a cat .", "café naïve ünïcode", "😀 👩\u200d👧 日本語 x ²", "it 's 1 0 %"]
)
def test_texts_are_recovered_from_their_tokens(text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (tokenizer.encode("photo")[0], "photo"),
        (512, "in-"),
        (tokenizer.encode(".")[0], "."),
        (13, ".-"),
        (tokenizer.EOT, "<|endoftext|>"),
    ],
)
def test_a_token_shows_whether_it_ends_a_word(token, text):
    assert words.spell(token) == text


def test_a_word_s_own_embedding_is_nearest_to_it(table):
    ids = tokenizer.encode("a photo of a")
    rows = rows_of(words.section(run_of("coop"), {"context": table[ids] + 1e-6}, "test"))
    assert [row[:2] for row in rows] == [
        (str(n), f"{word} 0.000") for n, word in enumerate(["a", "photo", "of", "a"], 1)
    ]


def test_nearest_words_are_by_distance_not_by_angle():
    table = np.array([[10.0, 0.0], [0.0, 1.0], [2.0, 2.0]], np.float32)
    found = words.nearest_words(np.array([1.0, 0.0], np.float32), table, 3)
    assert [cell.split()[1] for cell in found] == ["1.414", "2.236", "9.000"]


def test_layers_and_classes(table):
    deep = np.stack([table[:2], table[7:9]])
    rows = rows_of(words.section(run_of("ivlp"), {"text": deep, "vision": deep}, "test"))
    assert [row[0] for row in rows] == ["1", "2"]
    assert rows[0][1].endswith(" 0.000") and rows[0][1].startswith(words.spell(0))
    own = np.stack([table[:2]] * len(tiny.CLASSES))
    rows = rows_of(words.section(run_of("coop"), {"context": own}, "test"))
    assert [row[0] for row in rows[:3]] == ["sea_horse, 1", "sea_horse, 2", "pagoda, 1"]


def test_without_text_prompts_there_is_no_section(table):
    assert words.section(run_of("vpt"), {"vision": table[None, :2]}, "test") is None
    assert words.section(run_of("zero_shot"), {}, "test") is None
    assert words.section(run_of("vop", "videos"), {"text": table[None, :2]}, "test") is None
