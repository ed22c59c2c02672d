"""Sources of batches, one kind of data per file."""

from scud.data.alphabets import Alphabet, find_alphabet
from scud.data.buckets import LikeLengths
from scud.data.images import load_digits, load_hub_images, load_images
from scud.data.sequences import load_sequences
from scud.data.source import Examples, Kind, Source
from scud.data.store import SequenceSet
from scud.data.text import load_hub_text, load_text
from scud.data.text_store import TextSet
from scud.data.tokens import Tokens, find_tokens, tokens_from_spec

__all__ = [
    "Alphabet",
    "Examples",
    "Kind",
    "LikeLengths",
    "SequenceSet",
    "Source",
    "TextSet",
    "Tokens",
    "find_alphabet",
    "find_tokens",
    "load_digits",
    "load_hub_images",
    "load_hub_text",
    "load_images",
    "load_sequences",
    "load_text",
    "tokens_from_spec",
]
