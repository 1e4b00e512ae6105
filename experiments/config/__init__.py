"""The fields of an experiment, declared once: types, ranges, help and their role in a run."""
