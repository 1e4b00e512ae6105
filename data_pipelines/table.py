"""The table of data sets: a new one is one entry, in the order in which results list them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from data_pipelines.layouts import class_names
from data_pipelines.layouts.activitynet import ActivityNetLayout
from data_pipelines.layouts.aircraft import AircraftLayout
from data_pipelines.layouts.captions_csv import CaptionsCsvLayout
from data_pipelines.layouts.coop import CoopLayout
from data_pipelines.layouts.csv_list import CsvLayout
from data_pipelines.layouts.didemo import DidemoLayout
from data_pipelines.layouts.emoji_clips import EmojiClips
from data_pipelines.layouts.emoji_scenes import EmojiScenes
from data_pipelines.layouts.folders import FolderLayout
from data_pipelines.layouts.imagenet import ImageNetLayout
from data_pipelines.layouts.layout import Layout
from data_pipelines.layouts.lsmdc import LsmdcLayout
from data_pipelines.layouts.msrvtt import MsrVttLayout
from data_pipelines.layouts.msvd import MsvdLayout

_PHOTO = "a photo of a {}."
_VIDEO = "a video of {}."
_CLIPS = "https://github.com/ArrowLuo/CLIP4Clip"
_GUIDE = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"


@dataclass(frozen=True)
class Entry:
    """What is known of a data set before its files are read.

    Attributes:
        title: its name as tables print it.
        template: the text of one class, with one `{}` for the class name.
        layout: reads its files.
        kind: what it holds.
        tfds: its name in TFDS, with the config if it has several; None if it is not there.
        num_classes: the number of its classes; None for people's own pictures, and for clips that
            captions describe.
        counts: published numbers of train, validation and test pictures or clips; None if there
            are none.
        citation: authors, venue and year.
        url: where people get it, or how.
        clean: its class names in the CoOp benchmark from the raw ones of TFDS; None for a class
            that the benchmark leaves out.
        repeated_names: whether published class names repeat, so that repeats are no mistake:
            ImageNet's have "missile" and "sunglasses" twice.
        split_sha256: hash of the published split file's content, as `check` takes it (JSON with
            sorted keys and no spaces); None where it is not known.
    """

    title: str
    template: str
    layout: Layout
    kind: Literal["pictures", "clips"] = "pictures"
    tfds: str | None = None
    num_classes: int | None = None
    counts: tuple[int, int, int] | None = None
    citation: str = ""
    url: str = ""
    clean: Callable[[str], str | None] = class_names.spaces
    repeated_names: bool = False
    split_sha256: str | None = None


TABLE: dict[str, Entry] = {
    "imagenet": Entry(
        "ImageNet",
        _PHOTO,
        ImageNetLayout("imagenet", "images/val", train="images/train"),
        tfds="imagenet2012",
        num_classes=1000,
        counts=(1_281_167, 0, 50_000),
        citation="Deng et al., CVPR 2009",
        url="https://www.image-net.org/",
        repeated_names=True,
    ),
    "caltech101": Entry(
        "Caltech101",
        _PHOTO,
        CoopLayout("caltech-101", "101_ObjectCategories", "split_zhou_Caltech101.json"),
        tfds="caltech101",
        num_classes=100,
        counts=(4128, 1649, 2465),
        citation="Fei-Fei et al., CVPR Workshop 2004",
        url="https://doi.org/10.22002/D1.20086",
        clean=class_names.caltech101,
        split_sha256="266b016abdaeeb65436a3273abb64b9c02633d8d97988b66592f0fd28b2659a4",
    ),
    "oxford_pets": Entry(
        "OxfordPets",
        "a photo of a {}, a type of pet.",
        CoopLayout("oxford_pets", "images", "split_zhou_OxfordPets.json"),
        tfds="oxford_iiit_pet",
        num_classes=37,
        counts=(2944, 736, 3669),
        citation="Parkhi et al., CVPR 2012",
        url="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        clean=class_names.lower,
        split_sha256="175852640a3b1e8d7441c6224786fd018b4d6bcdd60f4495edca8a185631729d",
    ),
    "stanford_cars": Entry(
        "StanfordCars",
        _PHOTO,
        CoopLayout("stanford_cars", ".", "split_zhou_StanfordCars.json"),
        tfds="cars196",
        num_classes=196,
        counts=(6509, 1635, 8041),
        citation="Krause et al., 3dRR 2013",
        url=f"{_GUIDE}#stanfordcars",
        clean=class_names.stanford_cars,
        split_sha256="bffbe347fbf93ad532133ff506d15606ac007812cfac9933551a5877f5263dd3",
    ),
    "flowers102": Entry(
        "Flowers102",
        "a photo of a {}, a type of flower.",
        CoopLayout("oxford_flowers", "jpg", "split_zhou_OxfordFlowers.json"),
        tfds="oxford_flowers102",
        num_classes=102,
        counts=(4093, 1633, 2463),
        citation="Nilsback and Zisserman, ICVGIP 2008",
        url="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        split_sha256="9bf82a401539357a181e5f0b836ae7fcd5baa38b55e264a2059df8e86adc898a",
    ),
    "food101": Entry(
        "Food101",
        "a photo of {}, a type of food.",
        CoopLayout("food-101", "images", "split_zhou_Food101.json"),
        tfds="food101",
        num_classes=101,
        counts=(50_500, 20_200, 30_300),
        citation="Bossard et al., ECCV 2014",
        url="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    ),
    "fgvc_aircraft": Entry(
        "FGVCAircraft",
        "a photo of a {}, a type of aircraft.",
        AircraftLayout("fgvc_aircraft"),
        num_classes=100,
        counts=(3334, 3333, 3333),
        citation="Maji et al., arXiv 2013",
        url="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    ),
    "sun397": Entry(
        "SUN397",
        _PHOTO,
        CoopLayout("sun397", "SUN397", "split_zhou_SUN397.json"),
        tfds="sun397/tfds",
        num_classes=397,
        counts=(15_880, 3970, 19_850),
        citation="Xiao et al., CVPR 2010",
        url="https://vision.princeton.edu/projects/2010/SUN/",
        clean=class_names.sun397,
    ),
    "dtd": Entry(
        "DTD",
        "{} texture.",
        CoopLayout("dtd", "images", "split_zhou_DescribableTextures.json"),
        tfds="dtd",
        num_classes=47,
        counts=(2820, 1128, 1692),
        citation="Cimpoi et al., CVPR 2014",
        url="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        split_sha256="0d04a9bb08938c9d435fc3c6b5030906334f6d8ccf4d80f8319e5d7f4fbdd4ba",
    ),
    "eurosat": Entry(
        "EuroSAT",
        "a centered satellite photo of {}.",
        CoopLayout("eurosat", "2750", "split_zhou_EuroSAT.json"),
        tfds="eurosat/rgb",
        num_classes=10,
        counts=(13_500, 5400, 8100),
        citation="Helber et al., IEEE JSTARS 2019",
        url="https://github.com/phelber/EuroSAT",
        clean=class_names.eurosat,
        split_sha256="b9db23fedd13a2d3374107fe494f4fa814e7837c771660c850aab95ec391ad1a",
    ),
    "ucf101": Entry(
        "UCF101",
        "a photo of a person doing {}.",
        CoopLayout("ucf101", "UCF-101-midframes", "split_zhou_UCF101.json"),
        # TFDS has the videos, not the middle frames: refused with a message that says so.
        tfds="ucf101",
        num_classes=101,
        counts=(7639, 1898, 3783),
        citation="Soomro et al., CRCV-TR-12-01, 2012",
        url="https://www.crcv.ucf.edu/data/UCF101.php",
        clean=class_names.ucf101,
        split_sha256="29a5dc239824943e473244fc18abf1b43734213fc748cffa25ccd773fbe7271a",
    ),
    "imagenetv2": Entry(
        "ImageNetV2",
        _PHOTO,
        ImageNetLayout("imagenetv2", "imagenetv2-matched-frequency-format-val", numbered=True),
        tfds="imagenet_v2/matched-frequency",
        num_classes=1000,
        counts=(0, 0, 10_000),
        citation="Recht et al., ICML 2019",
        url="https://github.com/modestyachts/ImageNetV2",
        repeated_names=True,
    ),
    "imagenet_sketch": Entry(
        "ImageNet-Sketch",
        _PHOTO,
        ImageNetLayout("imagenet-sketch", "images"),
        tfds="imagenet_sketch",
        num_classes=1000,
        counts=(0, 0, 50_889),
        citation="Wang et al., NeurIPS 2019",
        url="https://github.com/HaohanWang/ImageNet-Sketch",
        repeated_names=True,
    ),
    "imagenet_a": Entry(
        "ImageNet-A",
        _PHOTO,
        ImageNetLayout("imagenet-adversarial", "imagenet-a", own_classes=True),
        tfds="imagenet_a",
        num_classes=200,
        counts=(0, 0, 7500),
        citation="Hendrycks et al., CVPR 2021",
        url="https://github.com/hendrycks/natural-adv-examples",
        repeated_names=True,
    ),
    "imagenet_r": Entry(
        "ImageNet-R",
        _PHOTO,
        ImageNetLayout("imagenet-rendition", "imagenet-r", own_classes=True),
        tfds="imagenet_r",
        num_classes=200,
        counts=(0, 0, 30_000),
        citation="Hendrycks et al., ICCV 2021",
        url="https://github.com/hendrycks/imagenet-r",
        repeated_names=True,
    ),
    "msrvtt_9k": Entry(
        "MSR-VTT-9k",
        _VIDEO,
        MsrVttLayout("MSRVTT", "MSRVTT_train.9k.csv"),
        kind="clips",
        counts=(9000, 0, 1000),
        citation="Xu et al., CVPR 2016; 1k-A: Yu et al., ECCV 2018",
        url=f"{_CLIPS}#data-preparing",
    ),
    "msrvtt_7k": Entry(
        "MSR-VTT-7k",
        _VIDEO,
        MsrVttLayout("MSRVTT", "MSRVTT_train.7k.csv"),
        kind="clips",
        counts=(7010, 0, 1000),
        citation="Xu et al., CVPR 2016; 1k-A: Yu et al., ECCV 2018",
        url=f"{_CLIPS}#data-preparing",
    ),
    "msvd": Entry(
        "MSVD",
        _VIDEO,
        MsvdLayout("MSVD"),
        kind="clips",
        counts=(1200, 100, 670),
        citation="Chen and Dolan, ACL 2011",
        url="https://www.cs.utexas.edu/users/ml/clamp/videoDescription/",
    ),
    "lsmdc": Entry(
        "LSMDC",
        _VIDEO,
        LsmdcLayout("LSMDC"),
        kind="clips",
        counts=(109_673, 7408, 1000),
        citation="Rohrbach et al., CVPR 2015",
        url="https://sites.google.com/site/describingmovies/download",
    ),
    "didemo": Entry(
        "DiDeMo",
        _VIDEO,
        DidemoLayout("DiDeMo"),
        kind="clips",
        counts=(8395, 1065, 1004),
        citation="Hendricks et al., ICCV 2017",
        url="https://github.com/LisaAnne/LocalizingMoments",
    ),
    "activitynet": Entry(
        "ActivityNet",
        _VIDEO,
        ActivityNetLayout("ActivityNet"),
        kind="clips",
        # Papers say 4,917 test clips: one of them is in val_1.json, but not in val_ids.json.
        counts=(10_009, 0, 4916),
        citation="Krishna et al., ICCV 2017",
        url="https://cs.stanford.edu/people/ranjaykrishna/densevid/",
    ),
    "emoji_scenes": Entry(
        "Emoji scenes",
        _PHOTO,
        EmojiScenes(),
        num_classes=200,
        citation="this repository; drawings: Twemoji (CC-BY-4.0)",
    ),
    "emoji_clips": Entry(
        "Emoji clips",
        "a video of something {}.",
        EmojiClips(),
        kind="clips",
        num_classes=33,
        citation="this repository; drawings: Twemoji (CC-BY-4.0)",
    ),
    "folder": Entry("Own folders", _PHOTO, FolderLayout()),
    "csv": Entry("Own CSV file", _PHOTO, CsvLayout()),
    "captions_csv": Entry("Own captioned clips", _VIDEO, CaptionsCsvLayout(), kind="clips"),
}
