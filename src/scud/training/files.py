"""What a run folder holds."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scud.errors import fail
from scud.files import is_file, make_folder, remove_temporaries
from scud.files.locks import is_lock, locked
from scud.files.opening import kind_of
from scud.files.writing import is_temporary, sync_folder
from scud.training import shards


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

    def _of_training(self) -> list[Path]:
        """Every file that training writes here, there or not."""
        model = [self.model / "model.safetensors", self.model / "config.json"]
        single = [self.config, self.options, self.metrics, self.curves]
        return [self.last, self.best, *model, *single]

    def written(self) -> list[Path]:
        """Every file that commands write here, there or not."""
        pictures, letters = ("samples.png", "denoising.gif"), ("samples.fasta", "infilled.fasta")
        names = ("samples.npz", "samples.txt", "infilled.txt", *pictures, *letters)
        samples = [self.samples / name for name in names]
        tables = [self.quality, self.scores, self.differences]
        evaluations = self.path.glob("evaluation-*.json")
        return [*self._of_training(), *samples, *tables, *evaluations]

    def check_free(self, mark: Path, *, resume: bool, overwrite: bool) -> None:
        """Raise `UserError` unless a run may be written here; `mark` is the file that shows that a run is.

        A folder that holds other files than a run's is somebody else's. What a process that was killed before it wrote the
        mark has left there, a lock and temporary files, counts as nothing.
        """
        if resume and overwrite:
            raise fail(
                "--resume and --overwrite", "not be given together", "both", "drop one of them"
            )
        check_place(self.path)
        if not self._holds_something():
            if resume:
                raise fail(
                    "out", "hold a run to resume", self.path, "drop --resume, or correct --out"
                )
            return
        if not is_file(mark, "out"):
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

    @property
    def begun(self) -> bool:
        """Whether the run got as far as a checkpoint: one cut short before starts again, one that has lost its own must not."""
        return self.last.exists() or self.model.exists()

    def _holds_something(self) -> bool:
        """Whether there is a folder with files in it that are not the remains of a process that was killed."""
        if not self.path.exists():
            return False
        return any(not (is_temporary(path) or is_lock(path)) for path in self.path.iterdir())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and be the only one who writes to it; what a killed process left half written is removed.

        Raises:
            UserError: another process writes to it, or it cannot be made or written to.
        """
        make_folder(self.path)
        with locked(self.path):
            for file in self._of_training():
                remove_temporaries(file.parent, file.name)
            self.remove_unnamed_shards()
            yield

    def remove_unnamed_shards(self) -> None:
        """Remove shards that no checkpoint names: of one before, or of a process that was killed before it wrote the name."""
        shards.remove_unnamed(self.checkpoints, self.last, self.best)

    def clear(self, mark: Path) -> None:
        """Remove what an earlier run wrote, and nothing else; not its mark, which the new run's will take the place of.

        So a folder whose clearing is cut short is a run still, which may be overwritten. Checkpoints go first: what is left is
        not taken for a run that can go on.
        """
        for file in self.written():
            if file != mark:
                file.unlink(missing_ok=True)
        shards.remove_all(self.checkpoints)
        for folder in (self.checkpoints, self.model, self.path):
            sync_folder(folder)  # before the mark of the new run is there
        for folder in (self.checkpoints, self.model, self.samples):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def check_place(path: Path, argument: str = "out") -> None:
    """Raise `UserError` unless a folder is there that can be written to, or can be made."""
    for above in (path, *path.parents):
        mode = kind_of(above, argument)
        if mode is None and not above.is_symlink():
            continue
        if mode != "folder":
            what = (
                f"{above}, which is none"
                if above == path
                else f"{path} below {above}, which is none"
            )
            raise fail(argument, "be a folder", what, f"choose another --{argument}")
        if not os.access(above, os.W_OK | os.X_OK):
            remedy = f"change its permissions, or choose another --{argument}"
            raise fail(argument, "be a folder that can be written to", above, remedy)
        return
