"""The side of the benchmark that runs this library."""
