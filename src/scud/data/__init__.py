"""Sources of batches, one kind of data per file."""

from scud.data.images.load import load_digits, load_hub_images, load_images
from scud.data.sequences.alphabets import Alphabet, find_alphabet
from scud.data.sequences.buckets import LikeLengths
from scud.data.sequences.load import load_sequences
from scud.data.sequences.store import SequenceSet
from scud.data.source import Examples, Kind, Source
from scud.data.text.load import load_hub_text, load_text
from scud.data.text.store import TextSet
from scud.data.text.tokenizers import Tokenizer, find_tokenizer, tokenizer_from_spec

__all__ = [
    "Alphabet",
    "Examples",
    "Kind",
    "LikeLengths",
    "SequenceSet",
    "Source",
    "TextSet",
    "Tokenizer",
    "find_alphabet",
    "find_tokenizer",
    "load_digits",
    "load_hub_images",
    "load_hub_text",
    "load_images",
    "load_sequences",
    "load_text",
    "tokenizer_from_spec",
]
