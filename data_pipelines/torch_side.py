"""What the loaders are measured beside: PyTorch's DataLoader, as people write it."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from prompt_jax.inputs.images.preprocessing import CLIP_MEAN, CLIP_STD
from prompt_jax.inputs.images.transforms import AREA
from prompt_jax.inputs.videos import sampling
from prompt_jax.inputs.videos.transforms import AREA as CLIP_AREA

ReadFrames = Callable[[Path, int], Sequence[Image.Image]]


class TorchImages:
    """A PyTorch dataset as people write it: Pillow for the image, tensors for the numbers."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], size: int):
        """Images at `paths`, to be cropped to `size` pixels a side."""
        self.paths = paths
        self.labels = labels
        self.size = size

    def __len__(self) -> int:
        """The number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """One augmented image, torch.float32[3, size, size], and its label."""
        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB")
        box, flip = _crop(*image.size, AREA), random.random() < 0.5
        return _tensor(image, box, flip, self.size), self.labels[index]


class TorchVideos:
    """The same for videos: twelve frames or so, the same crop and flip for all of them."""

    def __init__(
        self, paths: Sequence[Path], labels: Sequence[int], frames: int, size: int, read: ReadFrames
    ):
        """Videos at `paths`, of which `read` gives so many `frames`, cropped to `size` pixels."""
        self.paths = paths
        self.labels = labels
        self.frames = frames
        self.size = size
        self.read = read

    def __len__(self) -> int:
        """The number of videos."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """One augmented video, torch.float32[frames, 3, size, size], and its label."""
        import torch

        images = self.read(self.paths[index], self.frames)
        box, flip = _crop(*images[0].size, CLIP_AREA), random.random() < 0.5
        tensors = [_tensor(image, box, flip, self.size) for image in images]
        return torch.stack(tensors), self.labels[index]


def read_with_pyav(path: Path, frames: int) -> list[Image.Image]:
    """Decode from the start, and keep the wanted frames: the usual few lines."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        # WebM does not say how many there are.
        count = stream.frames or sum(1 for _ in container.decode(stream))
        container.seek(0)
        wanted = sampling.centre_frames(count, frames).tolist()
        found = {}
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                found[number] = Image.fromarray(frame.to_ndarray(format="rgb24"))
            if number == wanted[-1]:
                break
    return [found[number] for number in wanted]


def read_with_decord(path: Path, frames: int) -> list[Image.Image]:
    """decord's batch of frames, which seeks by itself."""
    import decord

    video = decord.VideoReader(str(path), num_threads=1)
    wanted = sampling.centre_frames(len(video), frames)
    return [Image.fromarray(frame) for frame in video.get_batch(wanted).asnumpy()]


def batches(dataset: Any, batch_size: int, workers: int, ahead: int) -> Iterator[Any]:
    """Batches of a PyTorch dataset, drawn at random, each worker `ahead` batches ahead."""
    import torch.utils.data

    loader: Any = torch.utils.data.DataLoader(
        dataset,
        batch_size,
        # One long epoch, as ours has no pause between epochs either.
        sampler=torch.utils.data.RandomSampler(dataset, True, 10**7),
        num_workers=workers,
        prefetch_factor=ahead,
    )
    return iter(loader)


def _crop(width: int, height: int, area: tuple[float, float]) -> tuple[int, int, int, int]:
    for _ in range(10):
        pixels = width * height * random.uniform(*area)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _tensor(image: Image.Image, box: tuple[int, int, int, int], flip: bool, size: int) -> Any:
    import torch

    image = image.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    return tensor.sub_(mean[:, None, None]).div_(std[:, None, None])
