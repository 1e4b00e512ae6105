"""Class names as the CoOp benchmark writes them, from the names that other sources carry.

Each function takes one raw name and returns the name for prompts, or None where the benchmark
leaves the class out. Source: the split files of the CoOp benchmark (Zhou et al. 2022).
"""

import re

from prompt_jax.text.class_names import spaced

_EUROSAT = {
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}
# Keys in lower case: the original folders are "Faces", TFDS writes "faces".
_CALTECH101 = {
    "airplanes": "airplane",
    "faces": "face",
    "leopards": "leopard",
    "motorbikes": "motorbike",
    "background_google": None,
    "faces_easy": None,
}


def lower(raw: str) -> str:
    """OxfordPets: "Egyptian_Mau" to "egyptian mau"."""
    return spaced(raw).lower()


def eurosat(raw: str) -> str:
    """EuroSAT: "AnnualCrop" to "Annual Crop Land"; other names only lose underscores."""
    return _EUROSAT.get(raw, spaced(raw))


def caltech101(raw: str) -> str | None:
    """Caltech101: "airplanes" to "airplane"; no background, and faces once."""
    return _CALTECH101.get(raw.lower(), spaced(raw))


def ucf101(raw: str) -> str:
    """UCF101: "ApplyEyeMakeup" to "Apply Eye Makeup"."""
    return spaced(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", raw))


def sun397(raw: str) -> str:
    """SUN397: "/c/church/outdoor" to "outdoor church" (the first part is a letter)."""
    parts = raw.strip("/").split("/")
    kept = parts[1:] if len(parts) > 1 and len(parts[0]) == 1 else parts
    return spaced(" ".join(reversed(kept)))


def stanford_cars(raw: str) -> str:
    """StanfordCars: "Acura TL Sedan 2012" to "2012 Acura TL Sedan"."""
    *words, last = raw.split() or [""]
    return " ".join([last, *words]) if re.fullmatch(r"(19|20)\d\d", last) else spaced(raw)
