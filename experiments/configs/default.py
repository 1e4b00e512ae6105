"""Every field of an experiment. A method's config starts from these and changes what differs."""

import dataclasses

from ml_collections import ConfigDict

from prompt_jax import methods


def get_config(method: str = "pro_mpt", **settings) -> ConfigDict:
    """The defaults with one method's settings; not a configuration to run by itself.

    Args:
        method: a name from the table of methods.
        **settings: where the method's settings differ from their published defaults.
    """
    c = ConfigDict()
    c.method = method  # a name from the table of methods
    c.settings = ConfigDict(dataclasses.asdict(methods.get(method).Settings(**settings)))
    c.backbone = "embedded"  # "embedded", a folder, a file, a hub id, or a name like "ViT-B/16"
    c.activation = ""  # "" as the checkpoint says, or "quick_gelu" / "gelu"
    c.dtype = "float32"  # compute type of the frozen towers: "float32" or "bfloat16"
    c.protocol = "base_to_novel"  # train on the first half of the classes, test on both halves
    c.seed = 1  # of the shots, the start of the prompts, order and augmentation; 0 to 2^32 - 1

    c.data = ConfigDict()
    c.data.name = "emoji_scenes"  # a name from the table of data sets
    c.data.root = ""  # folder that holds the data set's folder (or that folder itself)
    c.data.shots = 16  # training pictures per class, at least 1
    c.data.on_bad_image = "stop"  # "stop" with a list, or "skip" and count
    c.data.domain = ""  # emoji_scenes only: plain, sketch, silhouette, night or mosaic
    c.data.num_classes = 0  # emoji_scenes only: an evenly spread part of its classes; 0 is all
    c.data.test_per_class = 0  # emoji_scenes only: test pictures per class; 0 is its default
    c.data.num_threads = -1  # reading threads; 0 reads in the main thread, -1 chooses

    c.batch_size = 4  # training pictures per step; a multiple of the number of devices
    c.eval_batch_size = 100  # test pictures per step; a multiple of the number of devices
    c.epochs = 5  # passes over the training pictures
    c.learning_rate = 0.008  # peak, SGD
    c.momentum = 0.9
    c.weight_decay = 5e-4  # on prompts too
    c.log_every = 20  # steps between lines of metrics.jsonl
    c.checkpoint_every = 500  # steps between checkpoints; one more is written at the end
    return c
