"""A CLIP is found in the wrappers of training code, with a note."""

import needs_torch  # noqa: F401
import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from prompt_jax.clip.checkpoints import unwrapping
from prompt_jax.clip.checkpoints.layouts import from_tree, openai_layout
from prompt_jax.clip.loading import read
from prompt_jax.errors import PromptError

PREFIXES = ("module.", "_orig_mod.", "model.", "clip.", "net.backbone.")


@pytest.fixture(scope="module")
def state():
    """Returns the tiny CLIP by OpenAI's names."""
    tree = tiny.frozen_parameters()
    arrays = from_tree(openai_layout(2, 2), tree)
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def saved(content, path):
    torch.save(content, path)
    return path


def load(path):
    """Reads it beside an open_clip_config.json, which states the number of heads."""
    (path.parent / "open_clip_config.json").write_text(
        '{"model_cfg": {"embed_dim": 16, "quick_gelu": true,'
        ' "vision_cfg": {"head_width": 16}, "text_cfg": {"heads": 2}}}'
    )
    return read(path)


def under(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def inside(state, **wrappers):
    """Wraps the modules of these names: `visual="_orig_mod"`."""
    for module, wrapper in wrappers.items():
        state = {n.replace(f"{module}.", f"{module}.{wrapper}."): t for n, t in state.items()}
    return state


def in_parts(state):
    """Returns TinyCLIP's names."""
    parts = {}
    for name, tensor in state.items():
        part = "_image_encoder." if name.startswith("visual.") else "_text_encoder."
        parts[("_logit_scale." if name == "logit_scale" else part) + name] = tensor
    return parts


WRAPPINGS = {
    "ViFi-CLIP": (
        lambda s: {"model": under("module.", s), "optimizer": {}, "epoch": 3},
        ("the weights are 'model'", "names of the weights: 'module.'"),
    ),
    "SlowFast": (lambda s: {"model_state": s, "cfg": ""}, ("the weights are 'model_state'",)),
    "average beside": (
        lambda s: {"model": s, "model_ema": s},
        ("the weights are 'model', not 'model_ema'",),
    ),
    "average alone": (
        lambda s: {"ema": {"module": s, "decay": 0.9}},
        ("the weights are 'ema.module'",),
    ),
    "Lightning": (
        lambda s: {"state_dict": under("model.", s), "global_step": 1},
        ("the weights are 'state_dict'", "names of the weights: 'model.'"),
    ),
    "CLIP4Clip": (lambda s: under("clip.", s), ("names of the weights: 'clip.'",)),
    "compiled DDP": (lambda s: under("_orig_mod.module.", s), ("'_orig_mod.module.'",)),
    "DDP of compiled": (lambda s: under("module._orig_mod.", s), ("'module._orig_mod.'",)),
    "scale of one": (lambda s: s | {"logit_scale": s["logit_scale"].reshape(1)}, ()),
    "scale of 1 x 1": (lambda s: s | {"logit_scale": s["logit_scale"].reshape(1, 1)}, ()),
    "compiled tower": (
        lambda s: inside(s, visual="_orig_mod"),
        ("removed from the names of the weights: '_orig_mod.'",),
    ),
    "DDP tower": (lambda s: inside(s, visual="module"), ("names of the weights: 'module.'",)),
    "FSDP of blocks": (
        lambda s: under(
            "_fsdp_wrapped_module.",
            inside(s, resblocks="_fsdp_wrapped_module", attn="_checkpoint_wrapped_module"),
        ),
        ("'_fsdp_wrapped_module.', '_fsdp_wrapped_module.', '_checkpoint_wrapped_module.'",),
    ),
    "AveragedModel": (
        lambda s: under("module.", s) | {"n_averaged": torch.tensor(5)},
        ("names of the weights: 'n_averaged', 'module.'",),
    ),
    "AveragedModel in training": (
        lambda s: {"swa": under("net.module.", s) | {"net.n_averaged": torch.tensor(5)}},
        ("the weights are 'swa'", "names of the weights: 'net.n_averaged', 'net.module.'"),
    ),
    "TinyCLIP": (
        lambda s: {"state_dict": under("module.", in_parts(s))},
        ("the weights are 'state_dict'", "weights: '_image_encoder.', '_text_encoder.', '_logit"),
    ),
}


@pytest.mark.parametrize(("wrap", "words"), WRAPPINGS.values(), ids=WRAPPINGS)
def test_a_clip_is_found_in_its_wrappers_with_a_note(wrap, words, state, tmp_path):
    found = load(saved(wrap(state), tmp_path / "weights.pyth"))
    assert len(found.assumed) == len(words)
    for line, word in zip(found.assumed, words, strict=True):
        assert word in line
    plain = load(saved(state, tmp_path / "plain.pt"))
    assert plain.assumed == () and plain.config == found.config
    for name, leaf in plain.frozen["image"]["block_1"]["qkv"].items():
        np.testing.assert_array_equal(leaf, found.frozen["image"]["block_1"]["qkv"][name])
    assert found.frozen["logit_scale"] == plain.frozen["logit_scale"]


REFUSED = {
    "two of equal rank": (
        lambda s: {"student": s, "teacher": s},
        "can be read, but it holds 2 CLIPs, 'student', 'teacher': save the state dict of one",
    ),
    "two averages": (
        lambda s: {"model_ema": s, "state_dict_ema": s},
        "it holds 2 CLIPs, 'model_ema', 'state_dict_ema'",
    ),
    "two after prefixes": (
        lambda s: under("student.", s) | under("teacher.", s),
        "it holds 2 image towers, under 'student.', 'teacher.'",
    ),
    "a head beside": (
        lambda s: under("clip.", s) | {"classifier.weight": torch.ones(2)},
        "names begin with 'clip.', but there are also 'classifier.weight'",
    ),
    "numbers among tensors": (
        lambda s: s | {"epoch": 3},
        "it holds no state dict; not tensors: epoch",
    ),
    "nothing": (lambda s: {"model": {}, "epoch": 3}, "no state dict; not tensors: model, epoch"),
    "a count beside no average": (
        lambda s: under("clip.", s) | {"n_averaged": torch.tensor(5)},
        "names begin with 'clip.', but there are also 'n_averaged'",
    ),
    "a tensor twice": (
        lambda s: s | {"visual._orig_mod.proj": s["visual.proj"]},
        "two of its tensors have the same name without '_orig_mod.'",
    ),
    "loralib": (
        lambda s: s | {"visual.transformer.resblocks.0.mlp.c_fc.lora_A": torch.ones(2, 2)},
        "adapter weights such as LoRA's (visual.transformer.resblocks.0.mlp.c_fc.lora_A)",
    ),
    "peft, not merged": (
        lambda s: under("base_model.model.", inside(s, c_fc="base_layer")),
        "c_fc.base_layer.weight), not a whole CLIP; merge them",
    ),
    "1/τ": (
        lambda s: s | {"logit_scale": torch.tensor(100.0)},
        "logit_scale=100.0 must be the logarithm of 1/τ, at most ln 100 = 4.605 in CLIP;"
        " if this is 1/τ itself, store ln 100.0 = 4.6052",
    ),
    "1/τ of an untrained": (
        lambda s: s | {"logit_scale": torch.tensor([14.25]).half()},
        "logit_scale=14.25 must",
    ),
    "too deep": (
        lambda s: {"a": {"b": {"c": {"d": {"e": s}}}}},
        "it holds no state dict; not tensors: a",
    ),
    "CoOp's code": (
        lambda s: {
            "state_dict": under("image_encoder.", s) | {"prompt_learner.ctx": torch.ones(2)}
        },
        "names begin with 'image_encoder.'",
    ),
}


@pytest.mark.parametrize(("wrap", "message"), REFUSED.values(), ids=REFUSED)
def test_ambiguous_wrappers_are_rejected(wrap, message, state, tmp_path):
    with pytest.raises(PromptError) as caught:
        load(saved(wrap(state), tmp_path / "weights.pt"))
    assert message in str(caught.value)


def test_a_hugging_face_clip_is_found_in_its_wrappers(tmp_path):
    folder = tiny.save_clip(tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    wrapped = {f"net.clip.{name}": array for name, array in weights.items()}
    save_file(wrapped, folder / "model.safetensors")
    assert read(folder).assumed == ("removed from the names of the weights: 'net.clip.'",)
    (folder / "model.safetensors").unlink()
    tensors = {f"clip.{name}": torch.from_numpy(array) for name, array in weights.items()}
    saved({"network": tensors, "network_avg": tensors}, folder / "pytorch_model.bin")
    assert read(folder).assumed == (
        "the weights are 'network', not 'network_avg'",
        "removed from the names of the weights: 'clip.'",
    )


def test_adapter_weights_are_named_as_such(tmp_path):
    layer = "base_model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({layer: np.zeros((2, 2), np.float32)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(PromptError, match=r"adapter weights.*lora_A.*merge"):
        read(tmp_path / "adapter_model.safetensors")


def test_the_prefix_of_safetensors_is_removed(state, tmp_path):
    arrays = {f"model.clip.{name}": tensor.numpy() for name, tensor in state.items()}
    save_file(arrays, tmp_path / "weights.safetensors")
    [line] = load(tmp_path / "weights.safetensors").assumed
    assert line == "removed from the names of the weights: 'model.clip.'"


@given(st.lists(st.sampled_from(PREFIXES), max_size=5))
def test_any_prefix_is_removed(parts):
    names = ("visual.proj", "visual.conv1.weight", "text.proj", "logit_scale")
    prefix = "".join(parts)
    cut, notes = unwrapping.cut({prefix + name: name for name in names})
    assert cut == {name: name for name in names}
    assert bool(notes) == bool(prefix) and (not prefix or repr(prefix) in notes)


@given(
    st.recursive(
        st.integers() | st.text(max_size=3),
        lambda inner: st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4),
    )
)
def test_any_nesting_is_read_or_rejected(value):
    if isinstance(value, dict):
        try:
            found, _ = unwrapping.find(value, int)
        except ValueError:
            return
        assert all(isinstance(name, str) for name in found)
        assert all(isinstance(each, int) for each in found.values())


def test_endless_dicts_are_rejected():
    many = {"a": {str(number): {"b": 1.0} for number in range(unwrapping.MOST_DICTS)}}
    with pytest.raises(ValueError, match="more than 1,000 dicts"):
        unwrapping.find(many, int)


@pytest.mark.parametrize("scale", [4.6052, 4.609375, 4.75, 0.0])
def test_the_scale_of_a_fine_tuned_clip_is_accepted(scale, state, tmp_path):
    """Tests ln 100 in float32 and rounded up in bfloat16, and a scale trained without a bound."""
    path = saved(state | {"logit_scale": torch.tensor(scale)}, tmp_path / "weights.pt")
    assert load(path).frozen["logit_scale"] == np.float32(scale)


@given(
    st.lists(st.sampled_from([*unwrapping._WRAPPERS, "net"]), max_size=3),
    st.lists(st.sampled_from(unwrapping._WRAPPERS), max_size=2),  # a line has three of them
    st.integers(1, 3),
)
def test_wrappers_are_removed_at_any_depth(before, inner, at):
    names = ("visual.transformer.resblocks.0.ln_1.weight", "visual.module", "logit_scale")
    parts = names[0].split(".")
    wrapped = ".".join([*before, *parts[:at], *inner, *parts[at:]])
    others = [".".join([*before, name]) for name in names[1:]]
    cut, notes = unwrapping.cut(dict(zip((wrapped, *others), names, strict=True)))
    assert cut == {name: name for name in names}
    assert all(repr(f"{each}.") in notes for each in inner)
