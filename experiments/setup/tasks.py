"""Makes a task for each training and test set."""

from collections.abc import Mapping
from typing import Any

from data_pipelines.examples import Dataset
from experiments.config.config import Config
from experiments.setup import building
from prompt_jax import methods
from prompt_jax.text.class_names import Classes
from prompt_jax.training.sharding import Placement


def make_tests(
    config: Config,
    method: methods.Method,
    settings: Any,
    backbone: building.Backbone,
    placement: Placement,
    tests: Mapping[str, Dataset],
    known: Classes,
) -> tuple[dict[str, list[methods.Task]], list[methods.Method]]:
    """Returns tasks of the method and of zero-shot CLIP by test set; see `Testable`.

    Args:
        config: config of the run; its protocol selects the kind of zero-shot CLIP.
        method, settings: method under test.
        backbone, placement: the backbone, and the placement of its parameters on devices.
        tests: test sets by key.
        known: classes that the prompts are trained on.

    Raises:
        PromptError: the method cannot distinguish some of the classes; see `methods.make_task`.
    """
    compared = {method: settings}
    zero_shot = building.find_method(config, "zero_shot")
    compared.setdefault(zero_shot, zero_shot.Settings())
    made = {
        key: [
            make_task(tested, chosen, backbone, placement, dataset, known)
            for tested, chosen in compared.items()
        ]
        for key, dataset in tests.items()
    }
    return made, list(compared)


def make_task(
    method: methods.Method,
    settings: Any,
    backbone: building.Backbone,
    placement: Placement,
    dataset: Dataset,
    known: Classes,
) -> methods.Task:
    """Returns the task of a method on the classes of a data set; see `make_tests`."""
    names, ids = Classes(()) if method.objective == "pairs" else dataset.classes
    index = methods.index_trained(known.names, names, known.ids, ids)
    tower = methods.tower_for(method, backbone.clip, dataset.kind)
    made = methods.make_task(
        method, tower, backbone.frozen, names, settings, dataset.template, index
    )
    return placement.put_task(made)
