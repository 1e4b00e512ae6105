"""Writes small videos for tests: frame i is a plain gray of `grey(i)`, which identifies it."""

import av
import numpy as np
from PIL import Image

SIZE = (48, 32)


def grey(number):
    return 10 + 4 * number


def write(path, codec="libx264", count=50, size=SIZE, rate=25, pixels="yuv420p", **options):
    """Writes a video of `count` frames (at most 60); `options` are the encoder's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        # Enough bits to preserve the gray value.
        options = {"b": "4M", **options}
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(
                np.full((size[1], size[0], 3), grey(number), np.uint8), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_folder(folder, count=12, size=SIZE, name="{:05d}.jpg"):
    """Writes the same as a directory of frames, numbered from 1."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (grey(number),) * 3).save(folder / name.format(number + 1))
    return folder


def numbers(frames):
    """Returns which frames of such a video these are."""
    means = [np.asarray(frame, np.float64).mean() for frame in frames]
    return [round((mean - grey(0)) / 4) for mean in means]
