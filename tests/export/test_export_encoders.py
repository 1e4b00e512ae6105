"""Exported models of videos and texts: texts, errors, ONNX and StableHLO."""

import ast
import collections

import exported
import exported_videos
import jax
import needs_torch  # noqa: F401
import numpy as np
import onnxruntime
import pytest
import torch
from exported_videos import FRAMES, TEXTS
from reference import largest_difference

from prompt_jax.cli import commands
from prompt_jax.clip import saving, tokenizer
from prompt_jax.export import __main__ as command
from prompt_jax.export import source, to_onnx, to_stablehlo, writing
from prompt_jax.models import saved

VIDEOS = np.random.default_rng(3).standard_normal((4, FRAMES, 3, 16, 16)).astype(np.float32)


def export(folder, name, task="classes", **settings):
    """Returns a model and its PyTorch export."""
    trained = exported_videos.train(name, task, **settings)
    writing.write(folder, trained, exported.FROZEN)
    frozen = jax.tree.map(np.asarray, exported.FROZEN)
    return trained, to_onnx.load(folder, trained, frozen)


def encode(text):
    """Encodes like a tokenizer of transformers."""
    return {"input_ids": [tokenizer.SOS, *tokenizer.encode(text), tokenizer.EOT]}


def test_texts_and_their_ids_are_equal(tmp_path):
    _, model = export(tmp_path, "vop", "captions", text_prompts=2)
    found = model.encode_texts(TEXTS, encode)
    assert largest_difference(found.norm(dim=-1).numpy(), np.ones(len(TEXTS))) <= 1e-5
    ids = model.pad([encode(text)["input_ids"] for text in TEXTS])
    assert torch.equal(model.encode_texts(ids), found)
    alone = model.encode_texts(TEXTS[:1], encode)
    assert largest_difference(alone.numpy(), found[:1].numpy()) <= 1e-5


def test_a_model_trained_on_captions_classifies_named_classes(tmp_path):
    _, model = export(tmp_path, "vop", "captions")
    videos = torch.tensor(VIDEOS)
    with pytest.raises(ValueError, match="trained on captions, not on classes"):
        model(videos)
    with pytest.raises(ValueError, match="texts need a tokenizer"):
        model.similarities(videos, TEXTS)
    model.set_classes(["cat", "owl"], encode)
    texts = [exported.TEMPLATE.replace("{}", name) for name in ("cat", "owl")]
    similar = model.similarities(videos, texts)  # by the tokenizer of the classes
    assert largest_difference(model(videos).numpy(), similar.T.numpy()) <= 1e-5


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("vop_p", {"frames": FRAMES}, "videos have 2 frames; the model expects 3"),
        ("vop_f", {"frames": FRAMES}, "videos have 2 frames; the model expects 3"),
        ("a5", {"frames": FRAMES}, "videos have 2 frames; the model expects 3"),
    ],
)
def test_videos_with_another_number_of_frames_are_rejected(tmp_path, name, settings, message):
    _, model = export(tmp_path, name, **settings)
    with pytest.raises(ValueError, match=message):
        model(torch.tensor(VIDEOS[:, :2]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vop_f_p", {"frames": FRAMES}),
        ("vop_f_c", {"frames": FRAMES}),
        ("vilt_clip", {}),
        ("a5", {"frames": FRAMES}),
        ("maple", {}),
    ],
)
def test_other_formats_give_the_logits_of_the_model(tmp_path, name, settings):
    model, _ = export(tmp_path, name, **settings)
    assert to_onnx.write(tmp_path, model, exported.FROZEN) <= 1e-4
    assert to_stablehlo.write(tmp_path, model, exported.FROZEN) <= 1e-4
    videos = VIDEOS.transpose(0, 1, 3, 4, 2)
    expected = np.asarray(exported_videos.logits_of(model, videos))[-1]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert largest_difference(session.run(["logits"], {"videos": VIDEOS})[0], expected) <= 1e-4
    program = bytearray((tmp_path / "model.stablehlo").read_bytes())
    found = jax.export.deserialize(program).call(videos)
    assert largest_difference(found, expected) <= 1e-4


def test_the_command_shows_how_to_pass_videos(tmp_path, capsys):
    saving.save_hugging_face(exported.CLIP.config, exported.FROZEN, tmp_path / "clip")
    words = ["--output", str(tmp_path / "export"), "--backbone", str(tmp_path / "clip")]
    saved.write(tmp_path, exported_videos.train("vop", "captions", depth=1))
    assert commands.explain(command.start, [str(tmp_path), *words, "--onnx"]) == 2
    assert "the model was trained on captions and has no classes; use" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()
    assert commands.explain(command.start, [str(tmp_path), *words]) == 0
    assert "model.similarities(videos, texts, tokenizer)" in capsys.readouterr().out
    saved.write(tmp_path, exported_videos.train("vop", depth=1))
    assert commands.explain(command.start, [str(tmp_path), *words]) == 0
    assert "FRAMES\n" in capsys.readouterr().out


def test_no_two_parts_define_the_same_name():
    """Tests this because parts are joined into one file."""
    names: collections.Counter[str] = collections.Counter()
    for path in [*source.PARTS.glob("[!_]*.py"), source.PARTS.parents[1] / "text/texts.py"]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names[node.name] += 1
            elif isinstance(node, ast.Assign):
                names.update(ast.unparse(target) for target in node.targets)
    del names["load"]
    assert max(names.values()) == 1, names.most_common(3)
