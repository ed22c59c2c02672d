"""One named recipe per experiment: a function that returns its configuration."""

from collections.abc import Callable

from scud.config import Config
from scud.recipes.arrays import arrays
from scud.recipes.cifar10 import cifar10
from scud.recipes.digits import digits
from scud.recipes.fashion_mnist import fashion_mnist
from scud.recipes.images import images
from scud.recipes.lm1b import lm1b
from scud.recipes.proteins import proteins
from scud.recipes.text import text
from scud.recipes.text8 import text8

RECIPES: dict[str, Callable[[], Config]] = {
    "arrays": arrays,
    "cifar10": cifar10,
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "images": images,
    "lm1b": lm1b,
    "proteins": proteins,
    "text": text,
    "text8": text8,
}
"""Recipes by name."""

__all__ = [
    "RECIPES",
    "arrays",
    "cifar10",
    "digits",
    "fashion_mnist",
    "images",
    "lm1b",
    "proteins",
    "text",
    "text8",
]
