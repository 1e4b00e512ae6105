"""The baseline of the throughput benchmark: PyTorch's DataLoader, as commonly used."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from prompt_jax.inputs.images.preprocessing import CLIP_MEAN, CLIP_STD
from prompt_jax.inputs.images.transforms import AREA
from prompt_jax.inputs.videos import sampling
from prompt_jax.inputs.videos.transforms import AREA as VIDEO_AREA

ReadFrames = Callable[[Path, int], Sequence[Image.Image]]


@dataclass
class TorchImages:
    """A common PyTorch dataset of images: Pillow for pixels, tensors for normalization."""

    paths: Sequence[Path]
    labels: Sequence[int]
    size: int

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Returns one augmented image, torch.float32[3, size, size], and its label."""
        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB")
        box, flip = _crop(*image.size, AREA), random.random() < 0.5
        return _tensor(image, box, flip, self.size), self.labels[index]


@dataclass
class TorchVideos:
    """A common PyTorch dataset of videos, with the same crop and flip for all frames."""

    paths: Sequence[Path]
    labels: Sequence[int]
    frames: int
    size: int
    read: ReadFrames

    def __len__(self) -> int:
        """Returns the number of videos."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Returns one augmented video, torch.float32[frames, 3, size, size], and its label."""
        import torch

        images = self.read(self.paths[index], self.frames)
        box, flip = _crop(*images[0].size, VIDEO_AREA), random.random() < 0.5
        tensors = [_tensor(image, box, flip, self.size) for image in images]
        return torch.stack(tensors), self.labels[index]


def read_with_pyav(path: Path, frames: int) -> list[Image.Image]:
    """Decodes a video from the start and keeps the wanted frames."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        # WebM does not record the number of frames.
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
    """Reads frames with decord, which seeks."""
    import decord

    video = decord.VideoReader(str(path), num_threads=1)
    wanted = sampling.centre_frames(len(video), frames)
    return [Image.fromarray(frame) for frame in video.get_batch(wanted).asnumpy()]


def batches(dataset: Any, batch_size: int, workers: int, ahead: int) -> Iterator[Any]:
    """Returns random batches of a PyTorch dataset, prefetching `ahead` batches per worker."""
    import torch.utils.data

    loader: Any = torch.utils.data.DataLoader(
        dataset,
        batch_size,
        # One long epoch: our loaders do not pause between epochs either.
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
