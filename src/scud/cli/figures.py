"""How a bound is told: the figures of each kind of data, as a line, a table and a file."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scud.data.text.figures import Figure, TextCounts, TextFigures
    from scud.evaluation import Evaluation

ROWS = {
    "bits_per_character": ("bits per character", ".4f"),
    "bits_per_byte": ("bits per byte", ".4f"),
    "perplexity_per_token": ("perplexity per token", ".5g"),
    "perplexity_per_word": ("perplexity per word", ".5g"),
}
"""Figures of text that the table adds: their names, and how their numbers are written."""


@dataclass(frozen=True)
class Report:
    """A bound, and what is told about it.

    Attributes:
        result: the bound.
        position: what a position is called; None for images, whose figure is bits/dim.
        text: figures of whole texts, and the counts behind them; None for other data, and for spans of texts.
    """

    result: "Evaluation"
    position: str | None
    text: "tuple[TextFigures, TextCounts] | None" = None

    @property
    def headline(self) -> str:
        """The figure with its uncertainty."""
        result = self.result
        if self.position is None:
            return f"{result.bits_per_dim:.3f} ± {result.bits_per_dim_error:.3f} bits/dim"
        if self.text is None:
            low, high = result.perplexity_interval
            return f"perplexity {result.perplexity:.3f} per {self.position}, 95% interval {low:.3f} to {high:.3f},"
        figures, _ = self.text
        if self.position == "token":
            token, word = (
                interval(part, ".5g") for part in (figures.perplexity_per_token, figures.perplexity_per_word)
            )
            return f"perplexity per token {token}, per word {word}, 95% intervals,"
        bits = figures.bits_per_byte if self.position == "byte" else figures.bits_per_character
        return f"{bits.value:.3f} bits/{self.position}, 95% interval {bits.low:.3f} to {bits.high:.3f},"

    def show(self, title: str) -> None:
        """Print the bound and its terms."""
        from rich.console import Console
        from rich.table import Table

        result = self.result
        per = "bits/dim" if self.position is None else f"nats per {self.position}"
        unit = 1.0 if self.position is None else math.log(2)
        table = Table(title, per, "nats per example")
        for name, nats in (("diffusion term", result.diffusion), ("prior term", result.prior)):
            table.add_row(name, f"{result.term_bits_per_dim(nats) * unit:.4f}", f"{nats:.3f}")
        figure = f"{result.bits_per_dim * unit:.4f} ± {result.bits_per_dim_error * unit:.4f}"
        table.add_row("bound", figure, f"{result.total:.3f}")
        gain, error = (nats / math.log(2) * unit for nats in (result.gain, result.gain_error))
        saved = f"{result.independent - result.total:.3f}"
        table.add_row("gain over independent states", f"{gain:.4f} ± {error:.4f}", saved)
        if self.text is not None:
            figures, _ = self.text
            for name, (label, form) in ROWS.items():
                if name == "perplexity_per_token" and self.position != "token":
                    continue
                table.add_row(label, interval(getattr(figures, name), form), "")
        elif self.position is not None:
            low, high = result.perplexity_interval
            table.add_row("perplexity", f"{result.perplexity:.4f} ({low:.4f} to {high:.4f})", "")
        Console().print(table)
        if self.text is not None:
            print(f"counted: {', '.join(f'{count:,} {name}' for name, count in self.counts.items())} of {title}")

    @property
    def counts(self) -> dict[str, int]:
        """How much text whole texts are."""
        if self.text is None:
            return {}
        counts = self.text[1]
        return {name: getattr(counts, name) for name in ("tokens", "characters", "words", "bytes")}

    def write(self, target: Path, about: dict[str, Any]) -> None:
        """Write all figures as JSON, which has no NaN and no infinity: null in their place (one example has no error)."""
        from scud.files import replacing

        result = self.result
        figures = {
            "bits_per_dim": result.bits_per_dim,
            "bits_per_dim_error": result.bits_per_dim_error,
            "perplexity": result.perplexity,
            "gain": result.gain,
            **dataclasses.asdict(result),
            "perplexity_interval": list(result.perplexity_interval),
        }
        if self.text is not None:
            figures |= {"counts": self.counts, **dataclasses.asdict(self.text[0])}
        with replacing(target) as temporary:
            temporary.write_text(json.dumps({**about, **defined(figures)}, indent=2) + "\n", encoding="utf-8")


def interval(figure: "Figure", form: str) -> str:
    """A figure and its interval, each number in this form."""
    return f"{figure.value:{form}} ({figure.low:{form}} to {figure.high:{form}})"


def defined(value: Any) -> Any:
    """The same figures, None in place of those that are not finite."""
    if isinstance(value, dict):
        return {name: defined(part) for name, part in value.items()}
    if isinstance(value, list):
        return [defined(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
