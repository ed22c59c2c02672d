"""Sources of batches, one kind of data per file."""

from scud.data.images import load_digits, load_images
from scud.data.source import Examples, Source

__all__ = ["Examples", "Source", "load_digits", "load_images"]
