"""Every field of an experiment. A method's config starts from these and changes what differs."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from prompt_jax import methods
from prompt_jax.errors import unknown


def get_config(method: str = "pro_mpt", kind: str = "images", **settings) -> ConfigDict:
    """The defaults with one method's settings; not a configuration to run by itself.

    Args:
        method: a name from the table of methods of that kind, or "module:ATTRIBUTE", which is
            imported.
        kind: "images", or "videos" for a method of videos and texts.
        **settings: where the method's settings differ from their published defaults.

    Raises:
        PromptError: the method or a setting is none.
    """
    if methods.outside.is_outside(method):
        methods.outside.load(method)
    usual = (methods.get_encoders if kind == "videos" else methods.get)(method).Settings
    known = [field.name for field in dataclasses.fields(usual)]
    if wrong := next((name for name in settings if name not in known), None):
        raise unknown(f"setting of {method}", wrong, known)
    c = ConfigDict()
    c.method = method  # a name from the table of methods, or "module:METHOD" from elsewhere
    c.settings = ConfigDict(dataclasses.asdict(usual(**settings)))
    c.backbone = "embedded"  # "embedded", a folder, a file, a hub id, or a name like "ViT-B/16"
    c.activation = ""  # "" as the checkpoint says; else "quick_gelu" or "gelu"
    c.dtype = "float32"  # compute type of the frozen towers: "float32" or "bfloat16"
    # of the towers' float32 products on accelerators: "highest" is float32; "high", "default" round
    # to TF32 (NVIDIA) or bfloat16 (TPU) and are faster; see docs/using.md
    c.precision = "highest"
    c.memory_gb = 0.0  # a tower may keep for its backward pass; 0: a quarter of the device's memory
    # or "few_shot", "supervised", "cross_dataset", "domain_generalization", "zero_shot_transfer";
    # of videos and captions: "retrieval"
    c.protocol = "base_to_novel"
    c.init_from = ""  # folder of a run of the same method, whose prompts training starts from
    c.seed = 1  # of the shots, the start of the prompts, order and augmentation; 0 to 2^32 - 1
    c.seeds = ()  # several, one run each: --config.seeds=1,2,3
    c.learning_rates = ()  # several, one run each
    c.parallel_seeds = False  # train the runs of several seeds and rates in one program

    c.data = ConfigDict()
    c.data.name = "emoji_scenes"  # trained on: a name from the table of data sets
    c.data.names = ""  # "a,b": several, one run each; or, of a transfer, what is tested
    # of own data: its name in results; "a=/data/a,b=/data/b": several, their roots
    c.data.title = ""
    c.data.root = ""  # folder that holds the data sets' folders (or the one data set's folder)
    c.data.source = "coop"  # the CoOp benchmark's folders, or "tfds" for what TFDS prepared
    c.data.split_file = ""  # tfds only: a split_zhou_*.json to use in place of TFDS's own splits
    c.data.shots = 16  # training images per class, at least 1
    c.data.shots_list = ()  # several, one run each: 1,2,4,8,16
    c.data.on_bad_image = "stop"  # "stop" with a list, or "skip" and count
    c.data.domain = ""  # emoji_scenes: plain, sketch, …; folder and csv: a part of the images
    c.data.template = ""  # folder and csv only: text of a class; "" is "a photo of a {}."
    # How images and frames are prepared, in place of what the checkpoint's files say; where these
    # say nothing, as OpenAI's CLIP has it. See prompt_jax/inputs/images/preprocessing.py.
    c.data.stats = ""  # normalized by: "clip", "imagenet" or "half" (0.5 and 0.5); "": as they say
    c.data.mean = ()  # or by numbers, of red, green, blue in 0 to 1: 0.5,0.5,0.5
    c.data.std = ()  # their standard deviations
    c.data.resize = ""  # in testing: "shortest" side, "longest", "squash" both, or "none"
    c.data.interpolation = ""  # "bicubic", "bilinear", …
    c.data.ignore_rotation = False  # folder and csv only: True leaves images as they are stored
    c.data.num_classes = 0  # emoji_scenes only: an evenly spread part of its classes; 0 is all
    c.data.num_objects = 0  # emoji_clips only: how many kinds of objects; 0 is its default
    c.data.train_per_class = 0  # emoji_clips only: training videos per action; 0 is its default
    c.data.test_per_class = 0  # emoji_… only: test images or videos per class; 0 is its default
    c.data.frames = 12  # videos only: frames that are looked at, F
    c.data.frame_rule = "centre"  # videos only, in training; inputs/videos/sampling.py
    c.data.flip = True  # videos only: mirror half of those trained on; not where left, right matter
    c.data.augment = "none"  # videos only: crop and flip; "vifi": also colours, and crops as there
    c.data.mix = False  # videos with classes only: cutmix or mixup in fours, labels smoothed by 0.1
    c.data.crop = "clip"  # videos only, in testing: the middle as CLIP has it, or "vifi"
    c.data.views = 0  # videos with classes only, in testing: n draws of frames x 3; 0: one look
    c.data.frame_stats = "clip"  # videos only: "imagenet" is data.stats=imagenet, as ViFi-CLIP's
    c.data.also_test = ""  # retrieval only: "a,b", further data sets whose test videos are searched
    c.data.num_threads = -1  # reading threads; 0 reads in the main thread, -1 chooses
    c.data.num_workers = 0  # reading processes, each with its threads; 0 reads in this one

    c.batch_size = 4  # training images per step; a multiple of the number of devices
    c.eval_batch_size = 100  # test images per step; a multiple of the number of devices
    c.cached_views = 0  # 0: new crops in every epoch; n: n crops, their image features kept
    c.epochs = 5  # passes over the training images; 0: as epochs_by_shots says
    c.epochs_by_shots = ()  # ((most shots, epochs), …): the first entry that fits, or the last
    c.optimizer = "sgd"  # or "adamw"
    # "coop": warm-up epoch, then a cosine by epoch; by step: "constant", "cosine", "warmup_cosine",
    # "vifi"; see prompt_jax/training/optim.py
    c.schedule = "coop"
    c.warmup_epochs = 0  # vifi: epochs in which the rate grows from 0; 0 if all are fewer
    c.learning_rate = 0.008  # peak
    c.momentum = 0.9  # sgd
    c.weight_decay = 5e-4  # on prompts too
    c.adam_epsilon = 1e-8  # adamw
    c.adam_betas = (0.9, 0.999)  # adamw: decay of the averages of gradients and of their squares
    c.clip_norm = 0.0  # adamw: longer gradients are scaled to this norm; 0: as they are
    c.log_every = 20  # steps between lines of metrics.jsonl
    c.tracker = ""  # "wandb": metrics go to Weights & Biases too, of the extra wandb
    c.checkpoint_every = 500  # steps between checkpoints; one more is written at the end

    c.ablation = ""  # name of the table that the variants are rows of
    c.variants = ()  # ((label, ((field, value), …)), …): one run each
    c.variant = ""  # label of this run's
    c.lock()  # a misspelt field is an error where it is set
    return c


def vary(c: ConfigDict, name: str, variants: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Asks a config for an ablation: a run for every variant.

    Args:
        c: the config, which is changed.
        name: of the ablation, for its table.
        variants: label to the settings that differ, e.g. {"N=1": {"iterations": 1}}.

    Returns:
        `c`.
    """
    c.ablation = name
    c.variants = tuple(
        (label, tuple((f"settings.{field}", value) for field, value in changes.items()))
        for label, changes in variants.items()
    )
    return c
