"""From a picture's file to CLIP's input: read readers, then decoding, files, transforms."""
