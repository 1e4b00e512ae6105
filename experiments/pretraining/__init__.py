"""Data and calibration for pretraining the embedded CLIP."""
