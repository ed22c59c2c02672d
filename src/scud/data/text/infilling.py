"""Filling gaps in a text: what is drawn, and the designs as a text file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scud.data.base import Gap
from scud.data.text.gaps import REMEDY, encode_gaps, parse_gaps
from scud.data.text.samples import POSITIONS, write_texts
from scud.data.text.tokenizers import Tokenizer
from scud.errors import fail


@dataclass(frozen=True, kw_only=True)
class TextInfillOptions:
    """A text with marked gaps. What stands between gaps is read piece by piece, and comes
    back as it is, or is refused."""

    text: str | None = None
    """What to fill in, each gap marked by its number of positions (characters, bytes or tokens,
    whatever the model has): "in the [[20]] was the word"."""


class TextInfilling:
    """How a text with gaps is read, and designs are written.

    Args:
        tokens: what states stand for.
        length: states of a training example.
    """

    options = TextInfillOptions
    file = "infilled.txt"

    def __init__(self, tokens: Tokenizer, length: int) -> None:
        self.tokens = tokens
        self.length = length

    def gaps(self, options: TextInfillOptions) -> list[Gap]:
        """The text, as one example.

        Raises:
            UserError: there is no text or no gap in it, it is too long, or has letters that the
                model does not.
        """
        if options.text is None:
            raise fail("text", "be given for a run of text", "nothing", REMEDY)
        states, free = encode_gaps(parse_gaps(options.text), self.tokens, self.length)
        return [Gap("text", torch.from_numpy(states), torch.from_numpy(~free))]

    def write(self, gaps: Sequence[Gap], drawn: Sequence[Tensor], target: Path) -> str:
        """Designs one after another, a line of ten dashes between two of them."""
        texts = (self.tokens.decode(states.cpu().numpy()) for states in drawn)
        write_texts(target, texts, len(drawn))
        known = gaps[0].known
        free = len(known) - int(known.sum())
        return f"{len(drawn)} designs of {free} of {len(known)} {POSITIONS[self.tokens.unit]}s"
