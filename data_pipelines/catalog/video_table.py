"""The published video data sets of the table of data sets."""

from data_pipelines.catalog.entry import Entry
from data_pipelines.layouts.activitynet import ACTIVITYNET
from data_pipelines.layouts.didemo import DIDEMO
from data_pipelines.layouts.lsmdc import LSMDC
from data_pipelines.layouts.msrvtt import MSRVTT_7K, MSRVTT_9K
from data_pipelines.layouts.msvd import MSVD
from data_pipelines.layouts.vifi_lists import VifiLayout

VIDEO = "a video of {}."
ACTION = "a video of a person doing {}."
_VIDEOS = "https://github.com/ArrowLuo/CLIP4Clip"
_VIFI = "https://github.com/muzairkhattak/ViFi-CLIP"

VIDEOS: dict[str, Entry] = {
    "msrvtt_9k": Entry(
        "MSR-VTT-9k",
        VIDEO,
        MSRVTT_9K,
        kind="videos",
        counts=(9000, 0, 1000),
        citation="Xu et al., CVPR 2016; 1k-A: Yu et al., ECCV 2018",
        url=f"{_VIDEOS}#data-preparing",
    ),
    "msrvtt_7k": Entry(
        "MSR-VTT-7k",
        VIDEO,
        MSRVTT_7K,
        kind="videos",
        counts=(7010, 0, 1000),
        citation="Xu et al., CVPR 2016; 1k-A: Yu et al., ECCV 2018",
        url=f"{_VIDEOS}#data-preparing",
    ),
    "msvd": Entry(
        "MSVD",
        VIDEO,
        MSVD,
        kind="videos",
        counts=(1200, 100, 670),
        citation="Chen and Dolan, ACL 2011",
        url="https://www.cs.utexas.edu/users/ml/clamp/videoDescription/",
    ),
    "lsmdc": Entry(
        "LSMDC",
        VIDEO,
        LSMDC,
        kind="videos",
        counts=(109_673, 7408, 1000),
        citation="Rohrbach et al., CVPR 2015",
        url="https://sites.google.com/site/describingmovies/download",
    ),
    "didemo": Entry(
        "DiDeMo",
        VIDEO,
        DIDEMO,
        kind="videos",
        counts=(8395, 1065, 1004),
        citation="Hendricks et al., ICCV 2017",
        url="https://github.com/LisaAnne/LocalizingMoments",
    ),
    "activitynet": Entry(
        "ActivityNet",
        VIDEO,
        ACTIVITYNET,
        # Papers say 4,917 test videos: one of them is in val_1.json, but not in val_ids.json.
        kind="videos",
        counts=(10_009, 0, 4916),
        citation="Krishna et al., ICCV 2017",
        url="https://cs.stanford.edu/people/ranjaykrishna/densevid/",
    ),
    "hmdb51": Entry(
        "HMDB-51",
        ACTION,
        VifiLayout(
            "hmdb51",
            "datasets_splits/hmdb_splits",
            "labels/hmdb_51_labels.csv",
            ("val1.txt", "val2.txt", "val3.txt"),
            "datasets_splits/base2novel_splits/hmdb_splits",
            "labels/hmdb_51_{}_labels.csv",
        ),
        kind="videos",
        num_classes=51,
        counts=(0, 0, 1530),
        citation="Kuehne et al., ICCV 2011; lists: Rasheed et al., CVPR 2023",
        url=f"{_VIFI}/blob/main/docs/DATASETS.md",
    ),
    "ucf101_clips": Entry(
        "UCF-101 videos",
        ACTION,
        VifiLayout(
            "UCF-101",
            "datasets_splits/ucf_splits",
            "labels/ucf_101_labels.csv",
            ("val1.txt", "val2.txt", "val3.txt"),
            "datasets_splits/base2novel_splits/ucf_splits",
            "labels/ucf_101_{}_labels.csv",
        ),
        # TFDS's videos need TensorFlow: rejected with a message that says what to do.
        tfds="ucf101",
        kind="videos",
        num_classes=101,
        counts=(0, 0, 3783),
        gigabytes=7.0,
        citation="Soomro et al., CRCV-TR-12-01, 2012; lists: Rasheed et al., CVPR 2023",
        url="https://www.crcv.ucf.edu/data/UCF101.php",
    ),
    "ssv2": Entry(
        "Something-Something v2",
        ACTION,
        VifiLayout(
            "ssv2",
            "datasets_splits/ssv2_splits",
            "labels/ssv2_labels.csv",
            ("validation.txt",),
            "datasets_splits/base2novel_splits/ssv2_splits",
            "labels/ssv2_174_{}_labels.csv",
        ),
        kind="videos",
        num_classes=174,
        counts=(0, 0, 24_777),
        citation="Goyal et al., ICCV 2017; lists: Rasheed et al., CVPR 2023",
        url="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
    ),
    "kinetics400": Entry(
        "Kinetics-400",
        ACTION,
        VifiLayout(
            "kinetics400",
            "datasets_splits/k400_splits",
            "labels/kinetics_400_labels.csv",
            ("val.txt",),
            "datasets_splits/base2novel_splits/k400_splits",
            "labels/kinetics_400_{}_labels.csv",
            train="train.txt",
        ),
        kind="videos",
        num_classes=400,
        counts=(None, 0, 19_877),
        citation="Kay et al., arXiv 2017; lists: Rasheed et al., CVPR 2023",
        url="https://github.com/cvdfoundation/kinetics-dataset",
    ),
    "kinetics600": Entry(
        "Kinetics-600, 160 new classes",
        ACTION,
        VifiLayout(
            "kinetics600",
            "datasets_splits/k600_splits",
            "labels/ZS_split{}_K600.csv",
            tuple(f"ZS_split{number}_K600_eval.txt" for number in (1, 2, 3)),
        ),
        kind="videos",
        num_classes=160,
        counts=(0, 0, None),
        citation="Carreira et al., arXiv 2018; splits: Chen and Huang, ICCV 2021",
        url="https://github.com/cvdfoundation/kinetics-dataset",
    ),
}
