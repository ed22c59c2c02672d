"""One named recipe per experiment: a function that returns its configuration."""

from collections.abc import Callable

from scud.config import Config
from scud.recipes.digits import digits
from scud.recipes.images import images
from scud.recipes.proteins import proteins

RECIPES: dict[str, Callable[[], Config]] = {"digits": digits, "images": images, "proteins": proteins}
"""Recipes by name."""

__all__ = ["RECIPES", "digits", "images", "proteins"]
