"""The figures that VoP's paper prints (Huang et al., CVPR 2023), to be put beside measured ones."""

SOURCE = "VoP (CVPR 2023), Table 1"
DATASET = "msrvtt_9k"  # 9,000 training videos, test set 1k-A
BACKBONE_NAMES = ("ViT-B/32", "openai/clip-vit-base-patch32")

# Table 1: captions for videos, then videos for captions, each R@1, R@5, R@10, mean and median rank.
MSRVTT_9K: dict[str, tuple[float, ...]] = {
    "zero_shot": (),
    "full": (41.7, 69.2, 79.0, 16.5, 2, 42.5, 70.9, 81.4, 11.0, 2),
    "bias": (39.7, 66.5, 77.3, 17.3, 2, 41.1, 68.4, 79.2, 13.6, 2),
    "proj": (37.1, 63.0, 76.1, 20.5, 3, 37.2, 64.6, 75.9, 16.7, 3),
    "partial": (39.8, 65.3, 75.9, 19.3, 2, 37.9, 66.1, 77.4, 15.5, 3),
    "adapter_attn": (37.6, 63.2, 75.8, 18.7, 3, 39.6, 66.5, 76.8, 14.7, 2),
    "adapter_ffn": (38.2, 63.5, 76.4, 17.9, 3, 39.9, 66.8, 77.7, 14.2, 2),
    "vop": (39.6, 66.7, 77.8, 17.2, 2, 42.1, 68.8, 80.7, 12.4, 2),
    "vop_p": (40.1, 65.7, 77.7, 16.9, 2, 42.5, 70.0, 79.9, 12.4, 2),
    "vop_c": (40.8, 68.1, 79.0, 15.8, 2, 42.3, 70.1, 81.1, 11.4, 2),
    "vop_f": (42.6, 68.4, 78.7, 15.8, 2, 42.4, 70.5, 81.0, 11.0, 2),
    "vop_f_p": (43.5, 69.3, 79.3, 14.8, 2, 43.6, 71.2, 81.2, 11.0, 2),
    "vop_f_c": (44.6, 69.9, 80.3, 16.3, 2, 44.5, 70.7, 80.6, 11.5, 2),
}
