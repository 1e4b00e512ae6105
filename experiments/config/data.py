"""The fields `config.data`: what is trained on and tested, and how it is read."""

import dataclasses
from typing import Literal

from data_pipelines import datasets
from experiments.config.fields import WHOLE, field
from prompt_jax.inputs.augmenting import Kind
from prompt_jax.inputs.given import Crop
from prompt_jax.inputs.images.preprocessing import Interpolation, Resize, Stats
from prompt_jax.inputs.videos.sampling import Rule

_COLORS = "three numbers, e.g. 0.5,0.5,0.5"


@dataclasses.dataclass(frozen=True)
class Data:
    """Training and test data.

    How images and frames are prepared, `stats` to `interpolation`, is by default as the
    checkpoint's files say, and else as OpenAI's CLIP has it; see
    prompt_jax/inputs/images/preprocessing.py.
    """

    name: str = field("emoji_scenes", "data set to train on", role="run")
    names: str = field(
        "",
        '"a,b": data sets to train on, one run each; of transfer protocols, data sets to test',
        role="free",
    )
    title: str = field(
        "",
        'name of own data in results; "a=/data/a,b=/data/b": several with roots, one run each',
        role="run",
        since="2026-11-29",
    )
    root: str = field(
        "", "directory of all data sets' directories, or of the one data set", role="free"
    )
    source: Literal["coop", "tfds"] = field(
        "coop", "the CoOp benchmark's directories, or what TFDS prepared"
    )
    split_file: str = field(
        "", "tfds only: a split_zhou_*.json to use in place of TFDS's own splits", role="run"
    )
    shots: int = field(16, "training images per class", at_least=1, role="run")
    shots_list: tuple[int, ...] = field(
        (),
        "several numbers of shots, one run each: 1,2,4,8,16",
        at_least=1,
        form=WHOLE,
        role="run",
    )
    on_bad_image: Literal["stop", "skip"] = field(
        "stop", "list unreadable images and stop, or skip and count them", role="free"
    )
    domain: str = field(
        "", "emoji_scenes: plain, sketch, …; folder and csv: a part of the images", role="run"
    )
    template: str = field("", 'folder and csv only: text of a class; "" is "a photo of a {}."')
    stats: Stats = field(
        "", "images are normalized by these statistics; half is mean and std 0.5", role="free"
    )
    mean: tuple[float, ...] = field(
        (), "or by the mean of red, green, blue in 0 to 1: 0.5,0.5,0.5", form=_COLORS, role="free"
    )
    std: tuple[float, ...] = field((), "with their standard deviations", form=_COLORS, role="free")
    resize: Literal["", Resize] = field(
        "", "test images: resize the shortest or longest side, squash both, or none", role="free"
    )
    interpolation: Literal["", Interpolation] = field("", "filter of the resizing", role="free")
    ignore_rotation: bool = field(
        False,
        "folder and csv only: True leaves images as stored, whatever their EXIF data say",
        affects="tests",
    )
    num_classes: int = field(0, "emoji_scenes only: an evenly spread part of its classes; 0 is all")
    num_objects: int = field(0, "emoji_clips only: number of kinds of objects; 0 is its default")
    train_per_class: int = field(
        0, "emoji_clips only: training videos per action; 0 is its default", affects="training"
    )
    test_per_class: int = field(
        0, "emoji_… only: test images or videos per class; 0 is its default"
    )
    frames: int = field(12, "videos only: frames per video, F", at_least=1, affects="tests")
    frame_rule: Rule = field(
        "centre",
        "videos only, in training: how frames are chosen; see inputs/videos/sampling.py",
        affects="tests",
    )
    flip: bool = field(
        True,
        "videos only: mirror half in training; not where left and right matter",
        affects="training",
    )
    augment: Kind = field(
        "none",
        "videos only: none crops and flips; vifi adds ViFi-CLIP's crops and colors",
        since="2026-11-28",
        affects="training",
    )
    mix: bool = field(
        False,
        "videos with classes only: cutmix or mixup in fours, label smoothing 0.1",
        since="2026-11-28",
        affects="training",
    )
    crop: Crop = field(
        "clip",
        "videos only, in testing: the center, as CLIP or ViFi-CLIP crops it",
        since="2026-11-28",
        affects="tests",
    )
    views: int = field(
        0,
        "videos with classes only, in testing: draws of frames x 3 crops; 0: one view",
        at_least=0,
        since="2026-11-28",
        affects="tests",
    )
    frame_stats: Literal["clip", "imagenet"] = field(
        "clip",
        "videos only: imagenet is data.stats=imagenet, as ViFi-CLIP's",
        since="2026-11-28",
        affects="tests",
    )
    also_test: str = field(
        "", 'retrieval only: "a,b", further data sets whose test videos are searched', role="free"
    )
    num_threads: int = field(
        -1, "reading threads; 0 reads in the main thread, -1 chooses", at_least=-1, role="free"
    )
    num_workers: int = field(
        0, "reading processes, each with such threads; 0 reads in this one", at_least=0, role="free"
    )

    @property
    def key(self) -> str:
        """The data set to train on, "name" or "name:domain"."""
        return f"{self.name}:{self.domain}" if self.domain else self.name

    @property
    def on_videos(self) -> bool:
        """Whether the data set holds videos."""
        return datasets.entry(self.name).kind == "videos"
