"""The overview of captioned videos at the start of a run, and the lists that stop it."""

from pathlib import Path

import pytest

from data_pipelines.errors import DataError
from experiments.config.config import read
from experiments.configs.video import few_shot, retrieval
from experiments.setup import overview, plans
from prompt_jax.errors import PromptError


def plan_of(root: Path, rows: dict[str, tuple[str, str]], same: dict[str, str] | None = None):
    """Returns the plan of {video: (caption, split)}.

    Videos in `same` have the bytes of another one.
    """
    lines = ["path,caption,split"]
    for clip, (caption, split) in rows.items():
        (root / clip).write_bytes((same or {}).get(clip, clip).encode())
        lines.append(f"{clip},{caption},{split}")
    (root / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    config = retrieval.get_config("vop")
    config.data.update(name="captions_csv", root=str(root))
    return plans.build(read(config), 32, False)


ROWS = {
    "a.mp4": ("a cat", "train"),
    "b.mp4": ("a dog", "train"),
    "c.mp4": ("an owl", "test"),
    "d.mp4": ("a cow", "test"),
}


def test_videos_and_captions_are_counted(tmp_path, capsys):
    plan = plan_of(tmp_path, ROWS)
    overview.show(plan, 16, True)
    assert rows(capsys.readouterr().out) == [
        "data set videos captions",
        "train captions_csv 2 2",
        "test captions_csv 2 2",
    ]


def rows(message):
    """Returns lines with single spaces."""
    return [" ".join(line.split()) for line in message.splitlines()]


@pytest.mark.parametrize(("split", "left_out"), [("test", "d.mp4"), ("train", "b.mp4")])
def test_a_single_video_stops_a_run(tmp_path, capsys, split, left_out):
    plan = plan_of(tmp_path, {clip: row for clip, row in ROWS.items() if clip != left_out})
    with pytest.raises(DataError, match=f"meaningless: {split}: only one video, .*; add others"):
        overview.show(plan, 16, True)
    assert f"{split} captions_csv 1 1" in rows(capsys.readouterr().out)
    if split == "train":
        overview.show(plan, 16, False)  # nothing is trained on it


def test_captions_shared_by_test_videos_are_reported(tmp_path, capsys):
    plan = plan_of(tmp_path, ROWS | {"e.mp4": ("An owl", "test"), "f.mp4": ("a cat", "train")})
    overview.show(plan, 16, True)
    message = "note: test: captions shared by several videos: 1, e.g. 'an owl' (c.mp4 and e.mp4)"
    assert message in capsys.readouterr().out.splitlines()


def test_copies_are_reported_and_stop_a_run_if_they_are_half_of_a_test_set(tmp_path, capsys):
    more = {"e.mp4": ("a pig", "test")}
    overview.show(plan_of(tmp_path, ROWS | more, {"c.mp4": "a.mp4"}), 16, True)
    message = "note: videos copied from another split: 1, e.g. c.mp4 (same as a.mp4)"
    assert message in capsys.readouterr().out.splitlines()
    with pytest.raises(DataError, match="videos copied from another split: 1.*remove one of each"):
        overview.show(plan_of(tmp_path, ROWS, {"c.mp4": "a.mp4"}), 16, True)


@pytest.mark.parametrize(
    ("split", "message"), [("train", "no training videos"), ("test", "no test")]
)
def test_a_split_without_videos_is_named(tmp_path, split, message):
    plan = plan_of(tmp_path, {clip: row for clip, row in ROWS.items() if row[1] != split})
    with pytest.raises(PromptError, match=f"captions_csv has {message}.*its split is empty"):
        plans.refuse_empty(plan, True)


def test_videos_with_classes_are_not_called_images(capsys):
    config = few_shot.get_config("vop")
    config.data.shots = 1
    overview.show(plans.build(read(config), 32, False), 1, True)
    headings, train, test, *_ = rows(capsys.readouterr().out)
    assert headings == "data set classes videos per class shots not drawn"
    assert train.startswith("train emoji_clips 33 33 1 1")
    assert test == "test emoji_clips the same 33 495 15"
