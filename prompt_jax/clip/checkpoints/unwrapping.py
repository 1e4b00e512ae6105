"""Finds the state dict of a CLIP in a training checkpoint and removes wrappers from its names.

Training code saves {"model": …, "optimizer": …}. Wrappers of the model (DistributedDataParallel,
torch.compile, Lightning, CLIP4Clip) put a prefix before all names; wrappers of submodules insert
their name.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

MOST_DEPTH = 4  # dicts in dicts
MOST_DICTS = 1000

Value = TypeVar("Value")

_PARALLEL = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
# Inserted by these, by FSDP and by activation checkpointing. No module of a CLIP has such a name.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_COUNTER = "n_averaged"  # of torch's AveragedModel, beside its "module"
_TOWER = re.compile(r"((?:[^.]+\.)*?)(?:visual|vision_model)\.")
_PARTS = ("_image_encoder.", "_text_encoder.", "_logit_scale.")  # TinyCLIP's
_IN_PARTS = re.compile(r"(?:^|(?<=\.))(?:" + "|".join(map(re.escape, _PARTS)) + ")")
_AVERAGED = re.compile(r"(?i)(?:^|[^a-z])(?:ema|swa|avg|averaged?)(?:$|[^a-z])")


class NoSingleDict(ValueError):
    """An error for files that hold no state dict of a CLIP, or several."""


def find(value: Mapping[Any, Any], tensor: type[Value]) -> tuple[dict[str, Value], str]:
    """Finds the state dict in a training checkpoint.

    Args:
        value: a dict of tensors, or nested dicts of them, at most `MOST_DEPTH` deep.
        tensor: the class of tensors.

    Returns:
        tensors by name, and a note about which dict was chosen; "" if there is only one.

    Raises:
        NoSingleDict: there is no dict of tensors, or there are several CLIPs.
    """
    found = _dicts(value, tensor)
    if "" in found:
        return found[""], ""
    towers = [path for path, each in found.items() if any(map(_TOWER.match, each))]
    if len(towers) > 1:
        # Averaged weights are another model than the trained one.
        trained = [path for path in towers if not _AVERAGED.search(path)]
        if len(trained) != 1:
            raise NoSingleDict(
                f"it holds {len(towers)} CLIPs, {_quoted(towers)}: save the state dict of one of"
                " them only"
            )
        others = [path for path in towers if path not in trained]
        return found[trained[0]], f"the weights are {_quoted(trained)}, not {_quoted(others)}"
    if not towers:  # not a CLIP, for example CoOp's prompts
        towers = ["state_dict"] if "state_dict" in found else list(found)
    if len(towers) != 1:
        inner = value.get("state_dict")
        raise _no_state_dict(inner if isinstance(inner, dict) else value, tensor)
    return found[towers[0]], f"the weights are {_quoted(towers)}"


def _dicts(value: Mapping[Any, Any], tensor: type[Value]) -> dict[str, dict[str, Value]]:
    """Returns all dicts that contain only tensors, by their path of keys."""
    found: dict[str, dict[str, Value]] = {}
    waiting: list[tuple[str, Mapping[Any, Any], int]] = [("", value, 0)]
    for path, here, depth in waiting:  # it grows
        names = [name for name in here if isinstance(name, str)]
        tensors = [name for name in names if isinstance(here[name], tensor)]
        if len(tensors) == len(here) and (here or not path):
            found[path] = dict(here)
        elif any(map(_TOWER.match, tensors)):
            raise _no_state_dict(here, tensor)
        elif depth < MOST_DEPTH:
            below = [name for name in names if isinstance(here[name], dict)]
            if len(waiting) + len(below) > MOST_DICTS:
                raise NoSingleDict(f"it holds more than {MOST_DICTS:,} dicts")
            under = f"{path}." if path else ""
            waiting += [(f"{under}{name:.80}", here[name], depth + 1) for name in below]
    return found


def _no_state_dict(value: Mapping[Any, Any], tensor: type) -> NoSingleDict:
    others = [f"{name!s:.200}" for name, each in value.items() if not isinstance(each, tensor)]
    return NoSingleDict(f"it holds no state dict; not tensors: {', '.join(others[:8])}")


def cut_parallel(state: dict[str, Value]) -> dict[str, Value]:
    """Removes the prefixes of DistributedDataParallel and torch.compile from all names."""
    while state:
        common = [p for p in _PARALLEL if all(name.startswith(p) for name in state)]
        if not common:
            break
        [prefix] = common
        state = {name.removeprefix(prefix): each for name, each in state.items()}
    return state


def cut(state: dict[str, Value]) -> tuple[dict[str, Value], str]:
    """Removes the common prefix and known wrappers from the names of a CLIP's tensors.

    Returns:
        tensors by the CLIP's parameter names, and a note about what was removed, "" if nothing.

    Raises:
        ValueError: there are several CLIPs or other tensors, or two tensors get the same name.
    """
    off = []
    parts = {match[0] for name in state if (match := _IN_PARTS.search(name))}
    if parts:
        without = {name: _IN_PARTS.sub("", name, count=1) for name in state}
        state, off = _renamed(state, without, _PARTS), [part for part in _PARTS if part in parts]
    prefixes = {match[1]: name for name in state if (match := _TOWER.match(name))}
    if len(prefixes) > 1:
        raise ValueError(
            f"it holds {len(prefixes)} image towers, under {_quoted([*prefixes])}: save the state"
            " dict of one CLIP only"
        )
    if not prefixes:
        return cut_parallel(state), ""
    [prefix] = prefixes
    counter = prefix.removesuffix("module.") + _COUNTER
    if prefix.endswith("module.") and counter in state:
        state = {name: each for name, each in state.items() if name != counter}
        off.append(counter)
    if beside := [name for name in state if not name.startswith(prefix)]:
        raise ValueError(
            f"the CLIP's names begin with {_quoted([prefix])}, but there are also"
            f" {_quoted(beside)}: save the CLIP's state dict only"
        )
    off += [prefix] * bool(prefix)
    state = {name.removeprefix(prefix): each for name, each in state.items()}
    state, wrappers = _cut_wrappers(state)
    off += wrappers
    return state, f"removed from the names of the weights: {_quoted(off)}" if off else ""


def _cut_wrappers(state: dict[str, Value]) -> tuple[dict[str, Value], list[str]]:
    """Removes the names of module wrappers; returns the tensors and the wrappers found."""
    parts = {name: name.split(".") for name in state}
    found = [each for each in _WRAPPERS if any(each in some[:-1] for some in parts.values())]
    without = {
        name: ".".join([*(part for part in some[:-1] if part not in found), some[-1]])
        for name, some in parts.items()
    }
    wrappers = [f"{each}." for each in found]
    return _renamed(state, without, wrappers), wrappers


def _renamed(
    state: dict[str, Value], names: Mapping[str, str], off: Sequence[str]
) -> dict[str, Value]:
    renamed = {names[name]: each for name, each in state.items()}
    if len(renamed) < len(state):
        raise ValueError(f"two of its tensors have the same name without {_quoted(off)}")
    return renamed


def _quoted(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(repr(f"{name:.80}") for name in names[:3]) + more
