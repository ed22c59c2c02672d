"""What a run folder holds."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """All options of the run."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One row per step."""
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of what is needed to resume."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.checkpoints / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest validation loss."""
        return self.checkpoints / "best.ckpt"

    @property
    def model(self) -> Path:
        """Folder of what is needed to load the model."""
        return self.path / "model"

    @property
    def samples(self) -> Path:
        """Folder of samples."""
        return self.path / "samples"

    @property
    def curves(self) -> Path:
        """Training curves."""
        return self.path / "curves.png"

    @property
    def quality(self) -> Path:
        """How samples compare with data."""
        return self.path / "quality.csv"

    @property
    def scores(self) -> Path:
        """Bounds of sequences."""
        return self.path / "scores.csv"

    @property
    def differences(self) -> Path:
        """Differences of variants to their wild type."""
        return self.path / "differences.csv"

    def written(self) -> list[Path]:
        """Every file that commands write here, there or not."""
        model = [self.model / "model.safetensors", self.model / "config.json"]
        pictures, letters = ("samples.png", "denoising.gif"), ("samples.fasta", "infilled.fasta")
        names = ("samples.npz", "samples.txt", "infilled.txt", *pictures, *letters)
        samples = [self.samples / name for name in names]
        single = [
            self.config,
            self.metrics,
            self.curves,
            self.quality,
            self.scores,
            self.differences,
            *self.path.glob("evaluation-*.json"),
        ]
        return [self.last, self.best, *model, *samples, *single]
