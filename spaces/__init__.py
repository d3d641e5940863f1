"""What to search: one file a space, found by its path. Nothing here imports torch or Ray."""

from spaces._catalog import load, names
from spaces._recipe import CACHE_DTYPES, Recipe, with_unit
from spaces._single import RETRAIN, of_recipe
from spaces._space import ALL, Budget, Data, Depth, Profile, Space

__all__ = [
    "ALL",
    "CACHE_DTYPES",
    "RETRAIN",
    "Budget",
    "Data",
    "Depth",
    "Profile",
    "Recipe",
    "Space",
    "load",
    "names",
    "of_recipe",
    "with_unit",
]
