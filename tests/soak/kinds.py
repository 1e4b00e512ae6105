"""The table of all kinds of inputs."""

from .inputs import captions, downloads, images, lists, models, pages, records, videos, weights
from .kind import Kind

_FILES = (images, videos, lists, captions, downloads, weights, records, models, pages)
KINDS: dict[str, Kind] = {kind.name: kind for file in _FILES for kind in file.KINDS}
# Kinds whose examples and inputs take milliseconds.
QUICK = (
    *("jpg", "png", "webp", "bmp", "gif", "tiff", "foreign", "split", "csv", "classnames"),
    *("aircraft", "tree", "config", "open_clip", "index", "safetensors", "state_dict", "legacy"),
    *("results", "flags", "msrvtt", "msvd", "captions_pickle", "lsmdc", "didemo", "activitynet"),
    *("captions_csv", "actions", "names", "mp4", "animation", "archive", "pages"),
)


def share(total: int, names: tuple[str, ...]) -> dict[str, int]:
    """Returns the number of inputs of each kind, by its weight; at least one."""
    weights = {name: KINDS[name].weight for name in names}
    return {
        name: max(1, round(total * weight / sum(weights.values())))
        for name, weight in weights.items()
    }
