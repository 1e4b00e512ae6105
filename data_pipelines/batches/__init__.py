"""What image and video loaders share: order of examples, reading ahead, mixing."""
