"""Converts raw class names of other sources to those of the CoOp benchmark (Zhou et al. 2022).

Each function returns the name for prompts, or None if the benchmark leaves the class out.
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
# Keys in lower case: the original directory is "Faces", TFDS writes "faces".
_CALTECH101 = {
    "airplanes": "airplane",
    "faces": "face",
    "leopards": "leopard",
    "motorbikes": "motorbike",
    "background_google": None,
    "faces_easy": None,
}


def lower(raw: str) -> str:
    """Converts OxfordPets: "Egyptian_Mau" to "egyptian mau"."""
    return spaced(raw).lower()


def eurosat(raw: str) -> str:
    """Converts EuroSAT: "AnnualCrop" to "Annual Crop Land"; elsewhere underscores to spaces."""
    return _EUROSAT.get(raw, spaced(raw))


def caltech101(raw: str) -> str | None:
    """Converts Caltech101: "airplanes" to "airplane"; drops the background and a face class."""
    return _CALTECH101.get(raw.lower(), spaced(raw))


def ucf101(raw: str) -> str:
    """Converts UCF101: "ApplyEyeMakeup" to "Apply Eye Makeup"."""
    return spaced(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", raw))


def sun397(raw: str) -> str:
    """Converts SUN397: "/c/church/outdoor" to "outdoor church" (the first part is a letter)."""
    parts = raw.strip("/").split("/")
    kept = parts[1:] if len(parts) > 1 and len(parts[0]) == 1 else parts
    return spaced(" ".join(reversed(kept)))


def stanford_cars(raw: str) -> str:
    """Converts StanfordCars: "Acura TL Sedan 2012" to "2012 Acura TL Sedan"."""
    *words, last = raw.split() or [""]
    return " ".join([last, *words]) if re.fullmatch(r"(19|20)\d\d", last) else spaced(raw)
