"""An exported video model in PyTorch computes the same as in JAX."""

import exported
import exported_videos
import needs_torch  # noqa: F401
import numpy as np
import pytest
from exported_videos import FRAMES, TEXTS, inputs_of
from reference import largest_difference

from prompt_jax import methods
from prompt_jax.clip import saving
from prompt_jax.export import writing

VIDEOS = 30
CENTRE, VIFI = inputs_of("centre"), inputs_of("even", "vifi")
# Methods of videos and texts that classify: (name, settings).
ROWS = {
    "vop": ("vop", {"inputs": CENTRE}),
    "vop_shallow": ("vop", {"text_prompts": 3, "vision_prompts": 2, "depth": 2}),
    "vop_without_text": ("vop", {"text_prompts": 0, "renormalize_video": False}),
    "vop_without_vision": ("vop", {"vision_prompts": 0, "pooling": "mean_then_norm"}),
    "vop_p": ("vop_p", {"frames": FRAMES}),
    "vop_p_alone": ("vop_p", {"frames": FRAMES, "vision_prompts": 0, "depth": 2}),
    "vop_c": ("vop_c", {}),
    "vop_c_lstm": ("vop_c", {"context_module": "lstm", "depth": 2}),
    "vop_c_transformer": ("vop_c", {"context_module": "transformer", "context_prompts": 2}),
    "vop_c_class_tokens": ("vop_c", {"context_role": "class_tokens"}),
    "vop_f": ("vop_f", {"frames": FRAMES}),
    "vop_f_joint_alone": ("vop_f", {"frame_position": False, "per_frame_layers": 0}),
    "vop_f_p": ("vop_f_p", {"frames": FRAMES}),
    "vop_f_c": ("vop_f_c", {"frames": FRAMES}),
    "full": ("full", {}),
    "bias": ("bias", {}),
    "proj": ("proj", {}),
    "partial": ("partial", {}),
    "adapter_attn": ("adapter_attn", {"hidden": 5}),
    "adapter_attn_residual": ("adapter_attn", {"hidden": 5, "adapter_input": "residual"}),
    "adapter_ffn": ("adapter_ffn", {"hidden": 5}),
    "adapter_ffn_residual": ("adapter_ffn", {"hidden": 5, "adapter_input": "residual"}),
    "clip_video": ("clip_video", {"inputs": VIFI}),
    "clip_video_own_text": ("clip_video", {"template": "", "temperature": 0.07}),
    "vilt_independent": ("vilt_independent", {}),
    "vilt_independent_behind": (
        "vilt_independent",
        {"vision_prompt_before_ln_pre": False, "text_depth": 2, "vision_depth": 2},
    ),
    "vilt_independent_none": ("vilt_independent", {"text_prompts": 0, "vision_prompts": 0}),
    "vilt_multimodal": ("vilt_multimodal", {"shared_maps": False, "depth": 2}),
    "vilt_multimodal_by_text": ("vilt_multimodal", {"coupling_layer": 3, "prompts": 4}),
    "vilt_clip": ("vilt_clip", {}),
    "prompt_switch": ("prompt_switch", {"prompts": 3}),
    "prompt_switch_chunk": ("prompt_switch", {"prompts": 1, "chunk_attention": "chunk"}),
    "vifi_clip": ("vifi_clip", {}),
    "vifi_clip_image": ("vifi_clip", {"use": "image"}),
    "vifi_clip_text": ("vifi_clip", {"use": "text", "temperature": 0.05}),
    "vifi_vl_prompting": ("vifi_vl_prompting", {}),
    "vifi_vl_prompting_words": ("vifi_vl_prompting", {"text_prompts": 2}),
    "vifi_vl_prompting_words_alone": ("vifi_vl_prompting", {"text_prompts": 0}),
    "a5": ("a5", {"frames": FRAMES}),
    "a5_shared": ("a5", {"frames": FRAMES, "postfix": "shared", "temporal_blocks": 1}),
    "a5_without_blocks": ("a5", {"temporal_blocks": 0, "prefix_prompts": 4, "postfix_prompts": 2}),
    "ez_clip": ("ez_clip", {"frames": FRAMES}),
    "m2clip": ("m2clip", {"hidden": 5}),
    "m2clip_both": ("m2clip", {"hidden": 5, "places": "both", "text_layers": "all"}),
    # Methods of images.
    "zero_shot": ("zero_shot", {"templates": "imagenet_select"}),
    "coop": ("coop", {"inputs": VIFI}),
    "cocoop": ("cocoop", {}),
    "kgcoop": ("kgcoop", {}),
    "promptsrc": ("promptsrc", {}),
    "clip_adapter": ("clip_adapter", {}),
    "tip_adapter_f": ("tip_adapter_f", {}),
    "gda": ("gda", {"neighbours": 7}),
    "vpt": ("vpt", {"vision_prompts": 3}),
    "maple": ("maple", {}),
    "pro_mpt": ("pro_mpt", {"vision_prompts": 3, "vision_depth": 2}),
}
# The same, trained on captions.
CAPTIONED = {
    "zero_shot_captions": ("zero_shot", {"inputs": CENTRE}),
    "vop_captions": ("vop", {}),
    "vop_f_c_captions": ("vop_f_c", {"frames": FRAMES}),
    "full_captions": ("full", {}),
    "adapter_ffn_captions": ("adapter_ffn", {"hidden": 5}),
    "prompt_switch_captions": ("prompt_switch", {"prompts": 1}),
    "vilt_clip_captions": ("vilt_clip", {"sg_weight": 0.0}),
    "vifi_vl_prompting_captions": ("vifi_vl_prompting", {"text_prompts": 2}),
    "a5_captions": ("a5", {"frames": FRAMES}),
    "m2clip_captions": ("m2clip", {"hidden": 5}),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Returns the models, the directory of videos and that of the exports."""
    folder = tmp_path_factory.mktemp("exports")
    videos = exported_videos.save_videos(folder / "videos", VIDEOS)
    saving.save_hugging_face(exported.CLIP.config, exported.FROZEN, folder / "clip")
    models = {row: exported_videos.train(name, **given) for row, (name, given) in ROWS.items()}
    for row, (name, given) in CAPTIONED.items():
        models[row] = exported_videos.train(name, "captions", **given)
    for row, model in models.items():
        (folder / "all" / row).mkdir(parents=True)
        writing.write(folder / "all" / row, model, exported.FROZEN)
    program, texts = exported_videos.PROGRAM, list(TEXTS)
    exported.run_without_jax(program, folder / "all", folder / "clip", videos, texts)
    return models, videos, folder / "all"


@pytest.mark.slow
def test_the_generated_code_is_formatted_like_this_repository(exports):
    exported.check_style(exports[-1])


@pytest.mark.slow
@pytest.mark.parametrize("row", [*ROWS, *CAPTIONED])
def test_logits_equal_those_of_jax(exports, row):
    models, folder, found = exports
    videos = exported_videos.read_videos(folder, models[row].inputs)
    others = exported_videos.logits_of(models[row], videos, exported.OTHERS)
    both = [(others, "others.npy")]
    if row in ROWS:
        both.append((exported_videos.logits_of(models[row], videos), "trained.npy"))
    else:
        both.append(
            (exported_videos.similarities_of(models[row], videos)[None], "similarities.npy")
        )
    for expected, file in both:
        expected, logits = np.asarray(expected), np.load(found / row / file).reshape(expected.shape)
        difference = largest_difference(logits, expected)
        print(f"{row}: {difference:.1e}")  # docs/export.md has these figures: pytest -rP
        assert difference <= 1e-4
        assert (logits[-1].argmax(-1) == expected[-1].argmax(-1)).all()
        assert np.ptp(expected, axis=-2).max() > 0.1, "the videos are all alike"


def test_every_method_of_videos_is_tested():
    names = {name for name, _ in (ROWS | CAPTIONED).values()}
    assert names >= methods.ENCODERS.keys()
