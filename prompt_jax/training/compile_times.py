"""Says before the first step which device it is compiled for, and how long that takes."""

import jax

from prompt_jax.clip import CLIP

# Seconds to compile the training step, by method, device, and whether the layers run as a loop
# (`CLIP.scan_layers`): ViT-B/16, ahead of time on two idle cores. On TPU and GPU K = 100, batch 32,
# bfloat16; on the CPU K = 50, batch 4, float32. Loops: processor seconds on busy cores.
SECONDS = {
    ("coop", "TPU v5e", True): 23,
    ("pro_mpt", "TPU v5e", True): 74,
    ("coop", "H100", True): 9,
    ("pro_mpt", "H100", True): 27,
    ("coop", "TPU v5e", False): 41,
    ("pro_mpt", "TPU v5e", False): 106,
    ("coop", "H100", False): 25,
    ("pro_mpt", "H100", False): 95,
    ("coop", "CPU", False): 6,
    ("cocoop", "CPU", False): 8,
    ("maple", "CPU", False): 12,
    ("pro_mpt", "CPU", False): 15,
}
# Both towers of the CLIP that was measured.
LAYERS = (12, 12)
# Weights of both towers above which compiling takes long enough to say it on a CPU.
LARGE = 50_000_000
# JAX's names of TPUs that differ from Google's.
_TPUS = {"TPU v5 lite": "TPU v5e", "TPU v5": "TPU v5p", "TPU v6 lite": "TPU v6e"}


def device_name(kind: str) -> str:
    """Returns the usual name of JAX's `device_kind`, e.g. "TPU v5e" for "TPU v5 lite"."""
    return _TPUS.get(kind, "CPU" if kind.lower() == "cpu" else kind)


def expected_seconds(method: str, clip: CLIP, kind: str) -> float | None:
    """Returns the measured seconds to compile a training step; None if it was not measured.

    The number of classes, the batch size and the widths hardly matter; the layers do.

    Args:
        method: name of the method.
        clip: the backbone.
        kind: JAX's `device_kind`.
    """
    if (clip.config.image_layers, clip.config.text_layers) != LAYERS:
        return None
    words = device_name(kind).replace("-", " ").split()
    names = {device for _, device, _ in SECONDS if set(device.split()) <= set(words)}
    return SECONDS.get((method, names.pop(), clip.scan_layers)) if names else None


def describe(method: str, clip: CLIP, device: jax.Device | None = None) -> str:
    """Returns the line before the first step: "compiling for TPU v5e: about 40 s, …".

    Returns "" for small programs on a CPU, which are compiled in a few seconds.

    Args:
        method: name of the method.
        clip: the backbone.
        device: device that the step is compiled for; by default JAX's first one.
    """
    device = device or jax.devices()[0]
    if device.platform == "cpu" and _weights(clip.config) < LARGE:
        return ""
    line = f"compiling for {device_name(device.device_kind)}"
    seconds = expected_seconds(method, clip, device.device_kind)
    if seconds is None:
        return line
    about = max(5, 5 * round(seconds / 5))
    return f"{line}: about {about} s, less if it was compiled before"


def _weights(config):
    sizes = ((config.image_layers, config.image_width), (config.text_layers, config.text_width))
    return sum(12 * layers * width**2 for layers, width in sizes)
