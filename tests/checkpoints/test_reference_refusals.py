"""Errors on reference checkpoints, and the two commands run end to end."""

import dataclasses
import sys

import needs_torch  # noqa: F401
import pytest
import reference_learners as reference
import tiny
import torch
from reference_learners import NAMES, PHOTO

from prompt_jax import export_checkpoint, import_checkpoint
from prompt_jax.errors import PromptError
from prompt_jax.exchange import reading, writing
from prompt_jax.models import saved


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return reference.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def torch_clip(clip_folder):
    return reference.video_of(clip_folder)


def change(name, make):
    """Returns a function that replaces a tensor of a state dict."""

    def changed(state):
        state[name] = make(state[name])

    return changed


def drop(*names):
    def dropped(state):
        for name in names:
            del state[name]

    return dropped


def add(name):
    return lambda state: state.update({name: torch.zeros(2)})


def wide(tensor):
    return torch.cat([tensor, tensor], dim=-1)


REFUSALS = {
    "no context": ("coop", drop("ctx"), {}, "but no ctx, the context of coop, cocoop"),
    "another method": ("coop", add("ctx_global"), {}, "for a checkpoint of CoOp it also holds ctx"),
    "a part is missing": (
        "cocoop", drop("meta_net.linear2.bias"), {}, "of CoCoOp it lacks meta_net.linear2.bias; "
    ),
    "not the method named": (
        "maple", add("x"), {"method": "cocoop"},
        "of CoCoOp it lacks meta_net.linear1.weight, .* and also holds proj.weight, .* 3 more; ",
    ),
    "no such method": ("coop", add("x"), {"method": "cop"}, "unknown method 'cop'. Did you mean"),
    "prompts elsewhere": (
        "maple", add("image_encoder.VPT"), {}, "it also has prompts image_encoder.VPT, which none",
    ),
    "wide": ("coop", change("ctx", wide), {}, "its context has width 80, the text tower of .* 40:"),
    "no matrix": ("coop", change("ctx", torch.ravel), {}, r"its ctx has the shape \[160\]; it "),
    "a projection": (
        "maple", change("prompt_learner.proj.weight", torch.t), {},
        r"its proj.weight has the shape \[40, 48\], but .* needs \[48, 40\]: it was",
    ),
    "whole numbers": ("coop", change("ctx", torch.Tensor.int), {}, "its ctx has dtype int32; it"),
    "diverged": (
        "coop", change("ctx", lambda tensor: tensor / 0), {}, "its ctx has NaN or infinite",
    ),
    "deep": (
        "maple", lambda state: state.update(
            {f"prompt_learner.{name}": torch.zeros(shape) for n in range(2, 5) for name, shape in {
                f"compound_prompts_text.{n}": (2, 40),
                f"compound_prompt_projections.{n}.weight": (48, 40),
                f"compound_prompt_projections.{n}.bias": (48,),
            }.items()}
        ), {}, r"it has prompts for 6 layers, but this backbone's towers have 4 \(text\) and 3",
    ),
    "fewer names": (
        "coop", add("token_prefix"), {"class_names": NAMES[:2]},
        r"its token_prefix has the shape \[classes, \], but its context",
    ),
    "number of names": (
        "coop", drop("token_suffix"), {"class_names": NAMES[:2]},
        "it was trained on 4 classes, but 2 names were given; pass the class names of its training",
    ),
    "numbers of classes": (
        "coop", change("token_suffix", lambda tensor: tensor[:2]), {},
        r"differ in the number of classes \(token_prefix: 4, token_suffix: 2\)",
    ),
    "another start": (
        "coop", change("token_prefix", lambda tensor: tensor + 0.01), {},
        "its embedding of SOS is not that of .*: it was trained on another CLIP of the same",
    ),
    "other words": (
        "coop", change("token_suffix", lambda tensor: tensor + 0.01), {},
        "the embedded words of its class 0 are not those of .*: it was trained on another",
    ),
    "words that are not read": (
        "coop", change("token_suffix", lambda tensor: tensor + 0.01), {"class_names": None},
        "the embedded words of its class 0 are not those of",
    ),
    "another name": (
        "maple", add("logit_bias"), {"class_names": (*NAMES[:2], "pug", NAMES[3])},
        r"class 2 is 'of a st . bernard \( dog \).' in the checkpoint, but 'pug' among",
    ),
    "no names": (
        "coop", drop("token_suffix"), {"class_names": None},
        r"it holds no class names \(token_suffix\): pass a file of them, one per line",
    ),
    "a long name": (
        "coop", drop("token_suffix"), {"class_names": ("cat " * 80, *NAMES[1:])},
        r"the text of class 'cat .* takes 87 tokens; the text tower has 77: shorten the name",
    ),
    "place of the name": (
        "cocoop", lambda state: None, {"name_position": "front"},
        "name_position='front' is only supported by coop; cocoop needs",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("row", "edit", "wanted", "message"), REFUSALS.values(), ids=REFUSALS)
def test_mismatched_checkpoints_are_explained(
    row, edit, wanted, message, clip_folder, torch_clip, tmp_path
):
    path = reference.save_row(row, torch_clip, tmp_path)
    content = torch.load(path, weights_only=False)
    edit(content["state_dict"])
    torch.save(content, path)
    with pytest.raises(PromptError, match=message) as caught:
        reading.read(path, reference.wanted(row, clip_folder)._replace(**wanted))
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def model_of(row, clip_folder, torch_clip, folder):
    """Returns a model directory and the model that was read."""
    path = reference.save_row(row, torch_clip, folder)
    model = reading.read(path, reference.wanted(row, clip_folder))
    saved.write(folder, model)
    return model


def test_models_that_the_reference_cannot_load_are_explained(
    clip_folder, torch_clip, tmp_path, monkeypatch
):
    model = model_of("maple shallow", clip_folder, torch_clip, tmp_path)
    frozen = writing.load_backbone(model)
    other = dataclasses.replace(model, method="kgcoop")
    with pytest.raises(PromptError, match="kgcoop cannot be exported to a .* supported are coop"):
        writing.to_state(other, frozen)
    words = {**model.settings, "context_words": "a photo of one of the many"}
    with pytest.raises(PromptError, match="have more tokens than its 6 context vectors; "):
        writing.to_state(dataclasses.replace(model, settings=words), frozen)
    with pytest.raises(PromptError, match="is not the CLIP that this model was trained on; pass"):
        writing.load_backbone(model, str(tiny.save_clip(tmp_path / "other")))
    command = [str(tmp_path), "--output"]
    with pytest.raises(PromptError, match="epoch50.pth is not a name that Dassl loads; use model"):
        export_checkpoint.main([*command, str(tmp_path / "epoch50.pth")])
    there = tmp_path / "model.pth.tar-3"
    there.touch()
    with pytest.raises(PromptError, match="model.pth.tar-3 already exists; move it away or"):
        export_checkpoint.main([*command, str(there)])
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        PromptError, match=r"requires PyTorch, which is not installed.*pip install -e '.\[torch\]'"
    ):
        export_checkpoint.main([*command, str(tmp_path / "model.pth.tar-4")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "holds no class names; write one per line"),
        (b"\xff\xfe\x00", "cannot be read: it is not UTF-8 text"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_of_class_names_are_read_or_explained(content, message, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeffcat\n\n sea horse \ncat\n", encoding="utf-8")
    assert import_checkpoint.read_names(path) == ("cat", "sea horse", "cat")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PromptError, match=message):
        import_checkpoint.read_names(path)


@pytest.mark.slow
def test_the_commands_import_and_export_a_model(clip_folder, torch_clip, tmp_path):
    path = reference.save_row("maple", torch_clip, tmp_path / "theirs")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    words = [str(path), f"--backbone={clip_folder}", f"--output={tmp_path / 'model'}"]
    words = ["-m", "prompt_jax.import_checkpoint", *words]
    process = tiny.command(*words, f"--classes={tmp_path / 'names.txt'}")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert f"maple: context_length=2, depth=3, context_words={PHOTO!r}; 4 classes" in output
    assert saved.read(tmp_path / "model").class_names == NAMES
    again = tiny.command(*words)
    output, errors = again.communicate(timeout=300)
    assert again.returncode == 2
    assert errors == (
        f"error: {tmp_path / 'model'} already holds model.json and prompts.safetensors; choose "
        "another directory\n"
    )
    back = tmp_path / "ours" / "MultiModalPromptLearner" / "model.pth.tar-5"
    process = tiny.command(
        "-m", "prompt_jax.export_checkpoint", str(tmp_path / "model"), f"--output={back}"
    )
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert (
        f"--trainer MaPLe … --eval-only --model-dir {tmp_path / 'ours'} --load-epoch 5 "
        f"TRAINER.MAPLE.N_CTX 2 TRAINER.MAPLE.CTX_INIT '{PHOTO}' TRAINER.MAPLE.PROMPT_DEPTH 3\n"
    ) in output
    theirs = torch.load(path, weights_only=False)["state_dict"]
    for name, tensor in torch.load(back)["state_dict"].items():
        assert torch.equal(tensor, theirs[name])
