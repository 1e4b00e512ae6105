"""What makes a run this one, so that no run takes over what another left."""

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from prompt_jax.errors import PromptError

# Fields that say how a run is watched, not what it computes: they may change between restarts.
FREE_FIELDS = (
    "log_every",
    "checkpoint_every",
    "eval_batch_size",
    "memory_gb",
    "parallel_seeds",
    "data.num_threads",
    "data.num_workers",
    "data.on_bad_image",
    "data.root",
)
# In cross-dataset and domain generalization these are targets: more of them can be tested later.
TARGETS, TESTS = "data.names", "pictures.tests."
# Not known of files that are not there any more, nor of earlier runs.
SIZES = "pictures.sizes"
# What a person names a run by, and so wants to read first.
NAMING_FIELDS = ("method", "backbone.source", "backbone.hash", "data.name", "protocol", "seed")
SHOWN_DIFFERENCES = 4


def differences(here: dict, there: dict, prefix: str = "") -> list[str]:
    """The fields in which two configs disagree, as "field: here, there (there)"."""
    found = []
    for key in sorted(set(here) | set(there)):
        path, a, b = prefix + key, here.get(key), there.get(key)
        added_later = path.startswith((TESTS, SIZES)) and None in (a, b)
        if path in (*FREE_FIELDS, TARGETS) or added_later or a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, path + ".")
        else:
            found.append(f"{path}: {a!r} here, {b!r} there")
    return found


def as_json(config: ConfigDict) -> dict[str, Any]:
    """A config as it looks after being written and read: lists where it has tuples."""
    return json.loads(json.dumps(config.to_dict()))


def identify(config: dict, fingerprint: str, pictures: dict[str, Any]) -> dict[str, Any]:
    """What makes a run this one: config, what its backbone holds, which pictures it reads."""
    backbone = {"source": config["backbone"], "hash": fingerprint}
    return {**config, "backbone": backbone, "pictures": pictures}


def refuse_other_run(folder: pathlib.Path, here: dict, there: dict) -> None:
    """Raises a PromptError if what lies in `folder` was made by another config or backbone."""

    def rank(difference):
        field = difference.split(":")[0]
        return NAMING_FIELDS.index(field) if field in NAMING_FIELDS else len(NAMING_FIELDS)

    found = sorted(differences(here, there), key=rank)
    # Another seed or data set has other pictures too; that says nothing more.
    found = [one for one in found if not one.startswith("pictures.")] or found
    if found:
        more = len(found) - SHOWN_DIFFERENCES
        shown = "; ".join(found[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        raise PromptError(
            f"{folder} holds another run ({shown}); use another --workdir, or delete that folder "
            "if you no longer need it"
        )
