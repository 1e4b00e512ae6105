"""Lists of captioned videos and of actions, in each layout; videos are directories of frames."""

import json
import pickle
from pathlib import Path

from data_pipelines import check, datasets
from data_pipelines.errors import BadImage

from ..files import Files
from ..kind import Kind, changing
from ..mutations import BYTES, JSON, TEXT
from .lists import IMAGES

IDS = ("video0", "v_ab345678901", "a@N00_1.b", "00.23.23.000-x")
TEXTS = ("a cat", "a dog, asleep.", 'She says "é"', "rain")


def _read(name: str):
    """Loads the lists, reads the existing videos, and checks them like `check`."""

    def read(folder: Path) -> None:
        dataset = datasets.load(name, folder)
        for example in (*dataset.train, *dataset.val, *dataset.test)[:12]:
            try:
                next(dataset.read(example).frames([0]))
            except BadImage as bad:
                str(bad).encode()
        check.check(name, folder)

    return read


def _videos(folder: str) -> Files:
    return {f"{folder}/{clip}/1.jpg": IMAGES[at] for at, clip in enumerate(IDS)}


def _make_msrvtt() -> list[Files]:
    pairs = zip(IDS, TEXTS, strict=True)
    captions = [{"video_id": clip, "caption": text, "sen_id": 1} for clip, text in pairs]
    lists = {
        "MSRVTT_data.json": json.dumps({"videos": [], "sentences": captions}),
        "MSRVTT_train.9k.csv": "\n".join(("video_id", *IDS[:2])),
        "MSRVTT_JSFUSION_test.csv": f"key,video_id,sentence\nret0,{IDS[2]},a dog",
    }
    return [_videos("MSRVTT") | {f"MSRVTT/{name}": text.encode() for name, text in lists.items()}]


def _make_msvd() -> list[Files]:
    lists = {f"MSVD/{split}_list.txt": IDS[at].encode() for at, split in enumerate(_SPLITS)}
    words = {clip: [text.split()] for clip, text in zip(IDS, TEXTS, strict=True)}
    return [
        _videos("MSVD") | lists | {"MSVD/raw-captions.pkl": pickle.dumps(words, protocol)}
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]


def _make_lsmdc() -> list[Files]:
    files = ("annos_training", "annos_val", "challenge_1000_publictect")
    lines = {
        f"LSMDC/LSMDC16_{file}.csv": "\t".join((IDS[at], *"0101", TEXTS[at])).encode()
        for at, file in enumerate(files)
    }
    return [_videos("LSMDC") | lines]


def _make_didemo() -> list[Files]:
    files: Files = {}
    for at, split in enumerate(_SPLITS):
        described = [{"video": f"{IDS[at]}.mov", "description": text} for text in TEXTS]
        files[f"DiDeMo/{split}_data.json"] = json.dumps(described).encode()
        files[f"DiDeMo/{split}_list.txt"] = f"{IDS[at]}.mov\n".encode()
    return [_videos("DiDeMo") | files]


def _make_activitynet() -> list[Files]:
    content = {
        "train_ids.json": ["v_video0"],
        "val_ids.json": [IDS[1]],
        "train.json": {"v_video0": {"sentences": TEXTS}},
        "val_1.json": {IDS[1]: {"duration": 2.5, "sentences": TEXTS}},
    }
    lists = {f"ActivityNet/{name}": json.dumps(each).encode() for name, each in content.items()}
    return [_videos("ActivityNet") | lists]


def _make_csv() -> list[Files]:
    rows = [f'{clip},"{text}",train' for clip, text in zip(IDS, "abcd", strict=True)]
    return [_videos(".") | {"list.csv": "\n".join(("path,caption,split", *rows)).encode()}]


def _make_actions() -> list[Files]:
    listed = "\n".join(f"{clip}.avi {at % 2}" for at, clip in enumerate(IDS))
    files = {f"lists/{name}.txt": listed for name in ("train", "val", "train1_few_shot_2")}
    return [
        _videos("videos")
        | {name: text.encode() for name, text in files.items()}
        | {"labels/labels.csv": b"id,name\n0,jump_up\n1,run\n"}
    ]


_SPLITS = ("train", "val", "test")
KINDS = [
    Kind("msrvtt", 6, _make_msrvtt, changing(".json", JSON), _read("msrvtt_9k")),
    Kind("msvd", 3, _make_msvd, changing(".txt", TEXT), _read("msvd")),
    Kind("captions_pickle", 8, _make_msvd, changing(".pkl", BYTES), _read("msvd")),
    Kind("lsmdc", 3, _make_lsmdc, changing(".csv", TEXT), _read("lsmdc")),
    Kind("didemo", 5, _make_didemo, changing(".json", JSON), _read("didemo")),
    Kind("activitynet", 5, _make_activitynet, changing(".json", JSON), _read("activitynet")),
    Kind("actions", 5, _make_actions, changing(".txt", TEXT), _read("clip_lists")),
    Kind("names", 3, _make_actions, changing(".csv", TEXT), _read("clip_lists")),
    # A user's own list may name videos anywhere.
    Kind("captions_csv", 5, _make_csv, changing(".csv", TEXT), _read("captions_csv"), True),
]
