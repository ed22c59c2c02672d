"""What a run folder holds."""

from dataclasses import dataclass
from pathlib import Path

from scud.errors import fail


@dataclass(frozen=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """All options of the run."""
        return self.path / "config.yaml"

    @property
    def options(self) -> Path:
        """The options that `scud.fit` was given."""
        return self.path / "fit.json"

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
            self.options,
            self.metrics,
            self.curves,
            self.quality,
            self.scores,
            self.differences,
            *self.path.glob("evaluation-*.json"),
        ]
        return [self.last, self.best, *model, *samples, *single]

    def check_free(self, mark: Path, *, resume: bool, overwrite: bool) -> None:
        """Raise `UserError` unless a run may be written here; `mark` is the file that shows that a run is.

        A folder that holds other files than a run's is somebody else's.
        """
        if resume and overwrite:
            raise fail(
                "--resume and --overwrite", "not be given together", "both", "drop one of them"
            )
        if self.path.exists() and not self.path.is_dir():
            raise fail("out", "be a folder", self.path, "choose another --out")
        if not self.path.exists() or not any(self.path.iterdir()):
            if resume:
                raise fail(
                    "out", "hold a run to resume", self.path, "drop --resume, or correct --out"
                )
            return
        if not mark.is_file():
            raise fail(
                "out",
                "be empty or hold a run",
                f"{self.path} with other files",
                "choose another --out",
            )
        if not resume and not overwrite:
            remedy = (
                "add --resume (in Python resume=True) to continue it, --overwrite to replace it, "
                "or choose another folder"
            )
            raise fail("out", "not hold a run already", self.path, remedy)

    def clear(self) -> None:
        """Remove what an earlier run wrote, and nothing else."""
        for file in self.written():
            file.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.model, self.samples):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
