"""From a clip's file to frames for CLIP: read readers, then decoding, sampling, transforms."""
