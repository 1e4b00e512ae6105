"""Declares the fields `config.data`: training and test data, and how it is read."""

import dataclasses
from typing import Literal

from data_pipelines import datasets
from experiments.config.fields import WHOLE, field
from prompt_jax.inputs.augmenting import Kind
from prompt_jax.inputs.images.preprocessing import Interpolation, Resize, Stats
from prompt_jax.inputs.preparation import Crop
from prompt_jax.inputs.videos.sampling import Rule

_COLORS = "three numbers, e.g. 0.5,0.5,0.5"


@dataclasses.dataclass(frozen=True)
class Data:
    """Training and test data.

    The preprocessing of images and frames, `stats` to `interpolation`, defaults to the one that
    the checkpoint's files state, else to OpenAI CLIP's; see
    prompt_jax/inputs/images/preprocessing.py.
    """

    name: str = field("emoji_scenes", "data set to train on", role="run")
    names: str = field(
        "",
        '"a,b": data sets to train on, one run each; in transfer protocols, data sets to test',
        role="free",
    )
    title: str = field(
        "",
        'name of your own data in results; "a=/data/a,b=/data/b": several with roots, one run each',
        role="run",
        since="2026-11-29",
    )
    root: str = field(
        "", "directory that holds all data sets, or the directory of the data set", role="free"
    )
    source: Literal["coop", "tfds"] = field(
        "coop", "the CoOp benchmark's directories, or data prepared by TFDS"
    )
    split_file: str = field(
        "", "tfds only: a split_zhou_*.json to use instead of TFDS's splits", role="run"
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
        "stop", "stop with a list of unreadable images, or skip and count them", role="free"
    )
    domain: str = field(
        "", "emoji_scenes: plain, sketch, …; folder and csv: a subset of the images", role="run"
    )
    leave_out: str = field(
        "",
        "own data with classes: directories or labels to leave out, e.g. to sort,misc",
        since="2026-12-01",
    )
    class_names: str = field(
        "",
        "folder and clip_folder only: CSV file with class names, directory,name",
        role="free",  # identified by the names, not by the path
        since="2026-12-01",
    )
    columns: str = field(
        "",
        "csv, clip_csv, captions_csv: names of columns there, path=video,caption=text",
        role="free",  # identified by the content
        since="2026-12-01",
    )
    template: str = field("", 'folder and csv only: class template; "" is "a photo of a {}."')
    stats: Stats = field("", "statistics for normalization; half is mean and std 0.5", role="free")
    mean: tuple[float, ...] = field(
        (), "mean of red, green, blue in 0 to 1, instead of stats", form=_COLORS, role="free"
    )
    std: tuple[float, ...] = field((), "their standard deviations", form=_COLORS, role="free")
    resize: Literal["", Resize] = field(
        "", "test images: resize the shortest or longest side, squash both, or none", role="free"
    )
    interpolation: Literal["", Interpolation] = field("", "filter for resizing", role="free")
    ignore_rotation: bool = field(
        False,
        "folder and csv only: True ignores the EXIF orientation of images",
        affects="tests",
    )
    num_classes: int = field(0, "emoji_scenes only: number of classes, evenly spread; 0 is all")
    num_objects: int = field(0, "emoji_clips only: number of kinds of objects; 0 is its default")
    train_per_class: int = field(
        0, "emoji_clips only: training videos per action; 0 is its default", affects="training"
    )
    test_per_class: int = field(
        0, "emoji_… only: test images or videos per class; 0 is its default"
    )
    frames: int = field(12, "videos only: frames per video, F", at_least=1, affects="tests")
    test_frames: int = field(
        0,
        "videos only, in testing: frames per video; 0: as in training",
        at_least=0,
        since="2026-12-01",
        affects="tests",
    )
    test_passes: int = field(
        1,
        "videos only, in testing: passes in which the frame rule centre takes these frames",
        at_least=1,
        since="2026-12-01",
        affects="tests",
    )
    frame_rule: Rule = field(
        "centre",
        "videos only, in training: how frames are chosen; see inputs/videos/sampling.py",
        affects="tests",
    )
    flip: bool = field(
        True,
        "videos only: mirror half of them in training; not if left and right matter",
        affects="training",
    )
    augment: Kind = field(
        "none",
        "videos only: none only crops and flips; vifi adds ViFi-CLIP's crops and colors",
        since="2026-11-28",
        affects="training",
    )
    mix: bool = field(
        False,
        "videos with classes only: cutmix or mixup in groups of four, label smoothing 0.1",
        since="2026-11-28",
        affects="training",
    )
    crop: Crop = field(
        "clip",
        "videos only, in testing: center crop as in CLIP or ViFi-CLIP",
        since="2026-11-28",
        affects="tests",
    )
    views: int = field(
        0,
        "videos with classes only, in testing: draws of frames, 3 crops each; 0: one view",
        at_least=0,
        since="2026-11-28",
        affects="tests",
    )
    frame_stats: Literal["clip", "imagenet"] = field(
        "clip",
        "videos only: imagenet is data.stats=imagenet, as in ViFi-CLIP",
        since="2026-11-28",
        affects="tests",
    )
    also_test: str = field("", 'retrieval only: "a,b", further test sets', role="free")
    num_threads: int = field(
        -1, "reading threads; 0 reads in the main thread, -1 chooses", at_least=-1, role="free"
    )
    num_workers: int = field(
        0, "reading processes, each with num_threads; 0 uses the main one", at_least=0, role="free"
    )

    @property
    def key(self) -> str:
        """Returns the key of the training data set, "name" or "name:domain"."""
        return f"{self.name}:{self.domain}" if self.domain else self.name

    @property
    def kind(self) -> Literal["images", "videos"]:
        """Returns what the data set holds."""
        return datasets.entry(self.name).kind

    @property
    def on_videos(self) -> bool:
        """Returns whether the data set holds videos."""
        return self.kind == "videos"
