"""What the commands of experiments share: error messages, help on fields, processes."""
