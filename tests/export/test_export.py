"""An exported model in PyTorch computes the same as in JAX."""

import exported
import needs_torch  # noqa: F401
import numpy as np
import pytest
from reference import largest_difference

from prompt_jax import methods
from prompt_jax.clip import saving
from prompt_jax.export import writing
from prompt_jax.methods.record import no_arrays

ROWS = {
    "zero_shot": ("zero_shot", {}),
    "zero_shot_ensemble": ("zero_shot", {"templates": "imagenet_select"}),
    "coop": ("coop", {}),
    "coop_middle": ("coop", {"name_position": "middle", "context_length": 5}),
    "coop_front": ("coop", {"name_position": "front", "context_length": 3}),
    "coop_class_specific": ("coop", {"class_specific": True, "context_length": 4}),
    "coop_class_specific_middle": ("coop", {"class_specific": True, "name_position": "middle"}),
    "cocoop": ("cocoop", {}),
    "kgcoop": ("kgcoop", {}),
    "biomedcoop": ("biomedcoop", {"context_length": 5}),
    "gopro": ("gopro", {}),
    "caps_adapter": ("caps_adapter", {"gamma": 0.0, "distribution": "features"}),
    "description": ("description", {}),
    "description_max": ("description", {"aggregate": "max", "full_stop": True}),
    "sentences": ("description", {"mode": "cupl", "templates": "imagenet_select"}),
    "fudd": ("fudd", {"ambiguous": 3}),
    "fudd_excluded": ("fudd", {"ambiguous": 2, "others": "excluded"}),
    "fudd_one_step": ("fudd", {"ambiguous": 0}),
    "perception_clip": ("perception_clip", {"temperature": 1.0}),
    "perception_clip_without_y": ("perception_clip", {"inference": "without_y"}),
    "promptsrc": ("promptsrc", {}),
    "clip_adapter": ("clip_adapter", {}),
    "tip_adapter": ("tip_adapter", {}),
    "tip_adapter_f": ("tip_adapter_f", {}),
    "gda": ("gda", {"neighbours": 7}),
    "vpt_shallow": ("vpt", {"vision_depth": 1}),
    "vpt": ("vpt", {"vision_prompts": 3}),
    "ivlp": ("ivlp", {"text_prompts": 3, "vision_prompts": 4}),
    "ivlp_without_words": ("ivlp", {"context_words": "", "depth": 2}),
    "maple": ("maple", {}),
    "mocoop": (
        "mocoop",
        {
            "templates": ("a photo of a {}.", "{}, a thing.", "a {} on a table.", "art of a {}."),
            "groups": (1, 1, 2),
        },
    ),
    "nola": ("nola", {"vision_prompts": 3}),
    "mocoop_norms": (
        "mocoop_norms",
        {
            "templates": ("a photo of a {}.", "{}, a thing.", "a {} on a table.", "art of a {}."),
            "groups": (1, 1, 2),
        },
    ),
    "pro_mpt": ("pro_mpt", {"vision_prompts": 3, "vision_depth": 2}),
    "pro_mpt_all_classes": (
        "pro_mpt",
        {"iterations": 3, "feature_filter": False, "normalize_generator_input": False},
    ),
    "pro_mpt_few_slots": ("pro_mpt", {"vision_prompts": 8, "vision_generator": False}),
    "pro_mpt_vision_alone": ("pro_mpt", {"vision_prompts": 5, "text_generator": False}),
    "pro_mpt_zero_shot": ("pro_mpt", {"iterations": 0}),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Returns the models, JAX's logits of a hundred images, and the directory of the exports."""
    folder = tmp_path_factory.mktemp("exports")
    paths = exported.save_images(folder / "images", 100)
    images = exported.read_images(paths)
    saving.save_hugging_face(exported.CLIP.config, exported.FROZEN, folder / "clip")
    models = {row: exported.train(name, **settings) for row, (name, settings) in ROWS.items()}
    for row, model in models.items():
        (folder / "all" / row).mkdir(parents=True)
        writing.write(folder / "all" / row, model, exported.FROZEN)
    exported.run_without_jax(exported.PROGRAM, folder / "all", folder / "clip", paths)
    return models, images, folder / "all"


@pytest.mark.slow
def test_the_generated_code_is_formatted_like_this_repository(exports):
    exported.check_style(exports[-1])


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_logits_equal_those_of_jax(exports, row):
    models, images, folder = exports
    both = [(None, "trained.npy")]
    record = methods.RECORDS["images"][models[row].method]
    own = record.exported is not no_arrays or record.name == "nola"
    if not (own or models[row].settings.get("class_specific")):
        both.append((exported.OTHERS, "others.npy"))
    for names, file in both:
        expected = np.asarray(exported.logits_of(models[row], images, names))
        found = np.load(folder / row / file)
        difference = largest_difference(found, expected)
        print(f"{row}: {difference:.1e}")  # docs/export.md has these figures: pytest -rP
        assert difference <= 1e-4
        assert (found[-1].argmax(-1) == expected[-1].argmax(-1)).all()
        assert np.ptp(expected, axis=1).max() > 1, "the images are all alike"
