"""The spaces that can be searched, one file each, and the types they are made of. Nothing here imports torch or Ray."""

from frostline.spaces._catalog import load, names
from frostline.spaces._metric import Metric
from frostline.spaces._recipe import (
    CACHE_DTYPES,
    CLASS_WEIGHTS,
    FAMILY_KNOBS,
    NOT_SEARCHED,
    OWN_POOLING,
    POOLINGS,
    Recipe,
    with_unit,
)
from frostline.spaces._single import RETRAIN, of_recipe
from frostline.spaces._space import ALL, MOST_EPOCHS, OWN_DATA, SEEDS, Budget, Data, Depth, Profile, Space

__all__ = [
    "ALL",
    "CACHE_DTYPES",
    "CLASS_WEIGHTS",
    "FAMILY_KNOBS",
    "MOST_EPOCHS",
    "NOT_SEARCHED",
    "OWN_DATA",
    "OWN_POOLING",
    "POOLINGS",
    "RETRAIN",
    "SEEDS",
    "Budget",
    "Data",
    "Depth",
    "Metric",
    "Profile",
    "Recipe",
    "Space",
    "load",
    "names",
    "of_recipe",
    "with_unit",
]
