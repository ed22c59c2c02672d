"""Sources of batches, one kind of data per file."""

from scud.data.alphabets import Alphabet, find_alphabet
from scud.data.buckets import LikeLengths
from scud.data.images import load_digits, load_hub_images, load_images
from scud.data.sequences import load_sequences
from scud.data.source import Examples, Source
from scud.data.store import SequenceSet

__all__ = [
    "Alphabet",
    "Examples",
    "LikeLengths",
    "SequenceSet",
    "Source",
    "find_alphabet",
    "load_digits",
    "load_hub_images",
    "load_images",
    "load_sequences",
]
