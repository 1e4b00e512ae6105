"""The numbers that the field reports."""


def harmonic_mean(base: float, new: float) -> float:
    """H = 2bn / (b + n); 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0
