"""Options by which text is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from scud.data.base import Modality
from scud.data.dataset import Data
from scud.data.files import check_one_source, check_share, training_file
from scud.data.text.load import load_hub_text, load_text
from scud.data.text.modality import Text, check_length
from scud.data.text.tokenizers import check_letters, find_tokenizer
from scud.files import absolute
from scud.options import Options


@dataclass(frozen=True, kw_only=True)
class TextOptions(Options):
    """Text from files or the Hugging Face hub, cut into chunks of one length."""

    kind: Literal["text"] = "text"
    """What is modelled."""

    train: Path | None = None
    """A .txt or .txt.gz file of UTF-8, or a .parquet file or a folder of them with a column
    text."""

    hub: str | None = None
    """A data set of the Hugging Face hub to download instead: lm1b, text8, wikitext, or any other
    as owner/name or owner/name:configuration. Needs the extra `hub`."""

    valid: Path | None = None
    """Text for validation, in the same forms."""

    test: Path | None = None
    """Text for the final test, in the same forms."""

    valid_share: float = 0.05
    """Share of the training text held out, in some ten long stretches, where there is none for
    validation."""

    tokens: str = "characters"
    """What a state is: characters, bytes, or a part of a word: a tokenizer.json, or a WordPiece
    vocabulary in a .txt file or under `vocab` in an .npz file, for which the extra `text` is
    needed."""

    alphabet: str | None = None
    """The characters, by default a space and a to z; for characters only."""

    length: int = 256
    """States per example; chunks of so many are cut from the text."""

    modality: ClassVar[type[Modality]] = Text

    def __post_init__(self) -> None:
        if self.tokens not in ("characters", "bytes"):
            path = absolute(Path(self.tokens), "data.tokens")
            object.__setattr__(self, "tokens", str(path))
        super().__post_init__()

    def check(self) -> None:
        check_length(self.length)
        check_share(self.valid_share)
        check_one_source(self.train, self.hub)
        check_letters(self.tokens, self.alphabet)

    def read(self) -> Data:
        """Read the text; raises `UserError` naming what is wrong with a file."""
        tokens = find_tokenizer(self.tokens, self.alphabet)
        files = {"valid": self.valid, "test": self.test}
        if self.hub is not None:
            return load_hub_text(
                self.hub, tokens, self.length, files=files, valid_share=self.valid_share
            )
        path = training_file(self.train, "a text file")
        return load_text(path, tokens, self.length, files=files, valid_share=self.valid_share)
