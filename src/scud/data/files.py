"""What options of data have in common: where training data come from."""

from pathlib import Path

from scud.errors import check_in_interval, fail


def training_file(path: Path | None, what: str) -> Path:
    """The file named for training; raises `UserError` if there is none, saying `what` to name."""
    if path is None:
        raise fail("data.train", f"name {what}", "nothing", "add --data.train FILE")
    return path


def check_one_source(train: Path | None, hub: str | None) -> None:
    """Raise `UserError` if both a file and a data set of the hub are named."""
    if train is not None and hub is not None:
        raise fail("data.train and data.hub", "not be given together", "both", "drop one of them")


def check_share(share: float) -> None:
    """Raise `UserError` unless a share that is held out lies in (0, 1)."""
    remedy = "choose 0.05, say"
    check_in_interval("valid_share", share, 0, 1, remedy, open_low=True, open_high=True)
