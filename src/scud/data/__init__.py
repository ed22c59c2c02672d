"""Data: one folder for each kind. A new kind is a folder, and its options and modality here."""

from typing import Any

from scud.data.arrays.load import load_arrays
from scud.data.arrays.modality import Arrays
from scud.data.arrays.options import ArraysOptions
from scud.data.base import Gap, Infilling, Modality, Scoring
from scud.data.dataset import Data, DataOptions
from scud.data.examples import Examples
from scud.data.images.load import load_digits, load_hub_images, load_images
from scud.data.images.modality import Images
from scud.data.images.options import DigitsOptions, ImagesOptions
from scud.data.labels import label_of
from scud.data.sequences.alphabets import Alphabet, find_alphabet
from scud.data.sequences.load import load_sequences
from scud.data.sequences.modality import Sequences
from scud.data.sequences.options import SequencesOptions
from scud.data.sequences.store import SequenceSet
from scud.data.text.load import load_hub_text, load_text
from scud.data.text.modality import Text
from scud.data.text.options import TextOptions
from scud.data.text.store import TextSet
from scud.data.text.tokenizers import Tokenizer, find_tokenizer
from scud.options import by_kind

DataOptionsUnion = DigitsOptions | ImagesOptions | SequencesOptions | TextOptions | ArraysOptions
"""Options of data, told apart by their `kind`."""

DATA: dict[str, Any] = by_kind(DataOptionsUnion)
"""Options of data by their `kind`."""

MODALITIES: dict[str, type[Modality]] = {
    options.modality.kind: options.modality for options in DATA.values()
}
"""Modalities by their `kind`."""

__all__ = [
    "DATA",
    "MODALITIES",
    "Alphabet",
    "Arrays",
    "ArraysOptions",
    "Data",
    "DataOptions",
    "DataOptionsUnion",
    "DigitsOptions",
    "Examples",
    "Gap",
    "Images",
    "ImagesOptions",
    "Infilling",
    "Modality",
    "Scoring",
    "SequenceSet",
    "Sequences",
    "SequencesOptions",
    "Text",
    "TextOptions",
    "TextSet",
    "Tokenizer",
    "find_alphabet",
    "find_tokenizer",
    "label_of",
    "load_arrays",
    "load_digits",
    "load_hub_images",
    "load_hub_text",
    "load_images",
    "load_sequences",
    "load_text",
]
