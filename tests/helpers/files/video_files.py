"""Small videos for tests: frame i is a plain grey of `grey(i)`, so that its looks tell it."""

import av
import numpy as np
from PIL import Image

SIZE = (48, 32)


def grey(number):
    return 10 + 4 * number


def write(path, codec="libx264", count=50, size=SIZE, rate=25, pixels="yuv420p", **options):
    """A video of `count` frames (at most 60); `options` are the encoder's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        # Enough bits that a grey stays the one it was.
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
    """The same as a folder of frames, numbered from 1."""
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", size, (grey(number),) * 3).save(folder / name.format(number + 1))
    return folder


def numbers(frames):
    """Which frames of such a video these are."""
    means = [np.asarray(frame, np.float64).mean() for frame in frames]
    return [round((mean - grey(0)) / 4) for mean in means]
