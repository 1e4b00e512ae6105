"""From an image's file to CLIP's input: read decoding, then files, transforms."""
