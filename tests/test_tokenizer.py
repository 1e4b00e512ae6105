"""The tokenizer against recorded ids, and the cleaning that OpenAI's tokenizer does."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_jax.clip.tokenizer import EOT, SOS, encode, tokenize
from prompt_jax.errors import PromptError

SHARED = Path(os.environ.get("PROMPT_JAX_SHARED", Path(__file__).parents[2] / "shared"))
ORACLE = SHARED / "oracles" / "tiny_a"


@pytest.mark.skipif(not ORACLE.is_dir(), reason="the reference vectors are not on this machine")
def test_matches_the_recorded_tokens():
    arrays = np.load(ORACLE / "inputs.npz")
    names = json.loads((ORACLE / "names.json").read_text())
    classes = [name.replace("_", " ") for name in names["classes"]]
    templates = {"tokens_photo": "a photo of a {}."}
    templates |= {f"tokens_x{n}": "X " * n + "{}." for n in (2, 3, 4, 5)}
    for array, template in templates.items():
        texts = [template.format(name) for name in classes]
        np.testing.assert_array_equal(tokenize(texts), arrays[array])
    np.testing.assert_array_equal(tokenize(names["captions"]), arrays["caption_tokens"])
    np.testing.assert_array_equal(tokenize(names["captions"], 73), arrays["caption_tokens_73"])
    np.testing.assert_array_equal(tokenize(["a photo of a"]), arrays["photo_words"])


def test_rows_are_markers_words_and_zeros():
    tokens = tokenize(["a photo of a cat.", ""], length=9)
    assert tokens.dtype == np.int32
    assert tokens.tolist() == [
        [SOS, 320, 1125, 539, 320, 2368, 269, EOT, 0],
        [SOS, EOT, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert tokenize([]).shape == (0, 77)


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("A PHOTO of a Cat", "a photo of a cat"),
        ("  a \t photo\n\nof\u3000a\u00a0cat ", "a photo of a cat"),
        ("&lt;b&gt; &amp;amp; caf&eacute;", "<b> & café"),
        ("the dog\u2019s \u201cbone\u201d", 'the dog\'s "bone"'),
        ("cafe\u0301", "café"),
        ("ﬁre ｔｒｕｃｋ １２", "fire truck 12"),
        ("a\ufeff b\x00c\x1b[31m d", "a bc d"),
    ],
)
def test_texts_are_cleaned_as_openai_cleans_them(text, same_as):
    assert encode(text) == encode(same_as)


def test_cleaning_keeps_what_differs():
    assert encode("x²") != encode("x2")
    assert encode("don't we'll") == [847, 713, 649, 1342]  # don 't we 'll
    assert encode("737") == [278, 274, 278]  # digits stand alone


def test_a_text_that_fits_exactly_is_kept_and_one_more_is_refused():
    assert tokenize(["cat " * 75])[0, -1] == EOT
    with pytest.raises(PromptError, match="takes 78 tokens.*at most 77 fit"):
        tokenize(["dog", "cat " * 76])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("cat", r"must be a list of strings; write \['cat'\]"),
        ([3], "must be a string, not int: 3"),
        (["cat <|endoftext|>"], "CLIP's own marker"),
        (["cat \ud800"], "half of a surrogate pair"),
        (["x" * 10**6], r"^text 'x{200}…' has 1000000 characters; shorten it$"),
        (["\x1b[2J" + "x" * 9000], r"^text '\\x1b\[2Jx{196}…' takes \d+ tokens"),
    ],
)
def test_unusable_texts_are_refused(texts, message):
    with pytest.raises(PromptError, match=message):
        tokenize(texts)


@settings(deadline=None, derandomize=True, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=10))
def test_any_text_gives_ids_within_the_vocabulary(text):
    if "<|" not in text:
        assert all(0 <= token < SOS for token in encode(text))
