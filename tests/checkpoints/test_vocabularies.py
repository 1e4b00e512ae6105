"""Only CLIP's vocabulary is accepted, possibly with added tokens, with EOT at 49,407."""

import json
import shutil

import jax
import numpy as np
import pytest
import tiny
import transformers
from safetensors.numpy import load_file, save_file

import prompt_jax as pj
from prompt_jax.clip import CLIP, loading, saving, tokenizer
from prompt_jax.clip.checkpoints.layouts import from_tree, openai_layout
from prompt_jax.clip.vocabulary import bpe
from prompt_jax.errors import PromptError

TABLE = "text_model.embeddings.token_embedding.weight"
TEXTS = ["a photo of a cat", "a photo of two dogs"]


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def with_rows(folder, rows, **text):
    """Returns a directory whose vocabulary has another size, with the same first rows."""
    arrays = load_file(folder / "model.safetensors")
    table = arrays[TABLE]
    arrays[TABLE] = np.concatenate([table, table[::-1]])[:rows]
    save_file(arrays, folder / "model.safetensors")
    edit(folder / "config.json", lambda c: c["text_config"].update(vocab_size=rows, **text))
    return folder


@pytest.fixture
def folder(tmp_path):
    """Returns the tiny CLIP as a Hugging Face directory."""
    return tiny.save_clip(tmp_path / "clip")


@pytest.fixture(scope="module")
def tokenizer_files(tmp_path_factory):
    """Returns CLIP's tokenizer as saved by transformers, with two tokens added."""
    place = tmp_path_factory.mktemp("tokenizer")
    pieces = bpe.number_pieces(bpe.read_merges())
    (place / "vocab.json").write_text(json.dumps(pieces), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in bpe.read_merges())]
    (place / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    slow = transformers.CLIPTokenizer.from_pretrained(place)
    slow.add_tokens(["<cat-toy>", "<dog-toy>"])
    slow.save_pretrained(place)
    assert (place / "tokenizer.json").is_file()
    return place


@pytest.mark.parametrize("eos", [2, 49407])
def test_added_tokens_change_no_text_like_in_transformers(eos, folder, tokenizer_files, torch):
    one = pj.load(folder).encode_texts(TEXTS)
    with_rows(folder, 49410, eos_token_id=eos)
    shutil.copy(tokenizer_files / "tokenizer.json", folder)
    config, frozen, [line] = loading.read(folder)
    assert "the first 49,408 of its 49,410 tokens are CLIP's according to tokenizer.json" in line
    np.testing.assert_array_equal(pj.load(folder).encode_texts(TEXTS), one)
    model = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32)
    tokens = tokenizer.tokenize(TEXTS)
    with torch.no_grad():
        pooled = model.text_model(torch.from_numpy(tokens).long()).pooler_output
        theirs = model.text_projection(pooled).numpy()
    ours = jax.jit(CLIP(config).encode_text)(frozen, tokens)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_added_tokens_in_a_text_do_not_move_its_end(folder, torch):
    """Compares with transformers where eos_token_id is CLIP's."""
    config, frozen = loading.load(with_rows(folder, 49410))
    tokens = tokenizer.tokenize(TEXTS)
    tokens[:, 2] = 49409
    model = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        pooled = model.text_model(torch.from_numpy(tokens).long()).pooler_output
        theirs = model.text_projection(pooled).numpy()
    ours = jax.jit(CLIP(config).encode_text)(frozen, tokens)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_saved_checkpoints_keep_the_ids(folder, tmp_path):
    config, frozen = loading.load(with_rows(folder, 49410))
    saving.save_hugging_face(config, frozen, tmp_path / "saved")
    text = json.loads((tmp_path / "saved" / "config.json").read_text())["text_config"]
    assert (text["bos_token_id"], text["eos_token_id"], text["vocab_size"]) == (49406, 49407, 49410)


@pytest.mark.parametrize("rows", [32_000, 49_407])
def test_fewer_tokens_are_rejected_in_every_layout(rows, folder, tmp_path):
    message = f"its vocabulary has {rows:,} tokens, CLIP's has 49,408"
    with pytest.raises(PromptError, match=message):
        loading.load(with_rows(folder, rows))
    state = from_tree(openai_layout(2, 2), tiny.frozen_parameters())
    state["token_embedding.weight"] = np.array(state["token_embedding.weight"][:rows])
    (tmp_path / "open").mkdir()
    save_file(state, tmp_path / "open" / "clip.safetensors")
    (tmp_path / "open" / "open_clip_config.json").write_text(
        '{"model_cfg": {"vision_cfg": {"head_width": 16}, "text_cfg": {"heads": 2}}}'
    )
    with pytest.raises(PromptError, match=message):
        loading.load(tmp_path / "open" / "clip.safetensors")


@pytest.mark.parametrize("beside", [False, True])
def test_more_tokens_require_a_file_that_shows_that_they_are_clip_s(beside, tmp_path):
    state = from_tree(openai_layout(2, 2), tiny.frozen_parameters())
    table = state["token_embedding.weight"]
    state["token_embedding.weight"] = np.concatenate([table, table[:592]])
    save_file(state, tmp_path / "clip.safetensors")
    text = '{"heads": 2, "vocab_size": 50000}' if beside else '{"heads": 2}'
    content = '{"model_cfg": {"vision_cfg": {"head_width": 16}, "text_cfg": ' + text + "}}"
    (tmp_path / "open_clip_config.json").write_text(content)
    if beside:
        [line] = loading.read(tmp_path / "clip.safetensors").assumed
        assert "50,000 tokens are CLIP's according to open_clip_config.json" in line
    else:
        with pytest.raises(PromptError, match="50,000 tokens, 592 more than CLIP's, and no file"):
            loading.read(tmp_path / "clip.safetensors")


@pytest.mark.parametrize(
    ("rows", "eos", "message"),
    [
        (49410, 2, "2 more than CLIP's, and no file shows"),
        (49410, 49409, "eos_token_id=49409 must be CLIP's end of text"),
        (49408, 0, "eos_token_id=0 must be"),
        (49408, [49407], "eos_token_id: .* valid integer"),
    ],
)
def test_other_ends_of_texts_are_rejected(rows, eos, message, folder):
    with pytest.raises(PromptError, match=message):
        loading.load(with_rows(folder, rows, eos_token_id=eos))


def test_clip_s_own_tokenizer_beside_the_weights_is_accepted(folder, tokenizer_files):
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        shutil.copy(tokenizer_files / name, folder)
    assert loading.read(folder).assumed == ()


def swapped(content):
    pieces = content["model"]["vocab"]
    pieces["cat</w>"], pieces["dog</w>"] = pieces["dog</w>"], pieces["cat</w>"]


TOKENIZERS = {
    "swapped": (swapped, "its token 1929 is 'cat</w>', CLIP's is 'dog</w>'"),
    "shorter": (lambda c: c["model"]["merges"].pop(), "its merge 48894 is None"),
    "longer": (lambda c: c["model"]["merges"].append(["a", "b"]), "its merge 48895 is"),
    "words": (lambda c: c["model"].update(end_of_word_suffix=None), "words end with None"),
    "model": (lambda c: c.update(model={"type": "WordPiece"}), "its model is 'WordPiece'"),
    "ids": (lambda c: c["model"]["vocab"].update(cat="2"), "model.vocab.cat: .*2"),
}


@pytest.mark.parametrize(("change", "message"), TOKENIZERS.values(), ids=TOKENIZERS)
def test_another_tokenizer_is_rejected_with_the_difference(
    change, message, folder, tokenizer_files
):
    shutil.copy(tokenizer_files / "tokenizer.json", folder)
    edit(folder / "tokenizer.json", change)
    with pytest.raises(PromptError, match=message) as caught:
        loading.load(folder)
    assert "tokenizer.json" in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "vocab.json",
            '{"a": 0}',
            "vocab.json belongs to another tokenizer .*: its token 0",
        ),
        ("vocab.json", "[1]", "vocab.json cannot be read as a tokenizer file"),
        (
            "merges.txt",
            "#version: 0.2\na b\n",
            "merges.txt belongs to another tok.*merge 1 is",
        ),
        ("vocab.txt", "[PAD]", "vocab.txt beside the weights belongs to another tokenizer"),
        ("tokenizer.json", "[]", "tokenizer.json belongs to another"),
        ("tokenizer.json", '{"model": 3}', "tokenizer.json"),
    ],
)
def test_other_tokenizer_files_are_rejected(name, content, message, folder):
    (folder / name).write_text(content)
    with pytest.raises(PromptError, match=message):
        loading.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["text_config"].update(num_attention_heads=1),
        lambda c: c.update(text_config_dict=c["text_config"] | {"num_attention_heads": 1}),
        lambda c: c.update(text_config_dict=None),
        lambda c: c.update(
            text_config_dict={k: v for k, v in c["text_config"].items() if k != "hidden_act"},
            text_config=c["text_config"] | {"hidden_act": "gelu"},
        ),
        lambda c: c.update(vision_config_dict=c.pop("vision_config")),
    ],
)
def test_settings_have_the_precedence_of_transformers(change, folder):
    edit(folder / "config.json", change)
    theirs = transformers.CLIPConfig.from_pretrained(folder)
    ours = loading.load(folder)[0]
    assert ours.text_heads == theirs.text_config.num_attention_heads
    assert ours.image_heads == theirs.vision_config.num_attention_heads
    assert ours.activation == theirs.text_config.hidden_act


def test_an_empty_section_has_the_defaults_of_transformers(folder):
    edit(folder / "config.json", lambda c: c.update(text_config_dict={}))
    assert transformers.CLIPConfig.from_pretrained(folder).text_config.num_hidden_layers == 12
    with pytest.raises(PromptError, match="num_hidden_layers=12, but the weights have 2"):
        loading.load(folder)
