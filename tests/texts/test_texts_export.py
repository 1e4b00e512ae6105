"""Exports of methods that read texts of classes, beside `tests/export/test_export.py`."""

import exported
import pytest

from prompt_jax.export import to_stablehlo, writing


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("description", {"aggregate": "max"}),
        ("fudd", {"ambiguous": 3}),
        ("perception_clip", {"inference": "without_y"}),
    ],
)
def test_stablehlo_takes_any_batch_size(tmp_path, name, settings):
    model = exported.train(name, **settings)
    assert to_stablehlo.write(tmp_path, model, exported.FROZEN) <= 1e-4
    assert not writing.takes_new_classes(model)


def test_the_command_says_that_new_classes_have_no_texts(tmp_path, capsys):
    run = exported.save_run(tmp_path / "run", exported.train("description"))
    assert exported.export(run, tmp_path / "export") == 0
    assert "has the text features of 6 classes, and takes no others" in capsys.readouterr().out
