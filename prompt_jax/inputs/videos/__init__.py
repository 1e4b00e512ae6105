"""From a video's file to frames for CLIP: read opening, decoding, then sampling, transforms."""
