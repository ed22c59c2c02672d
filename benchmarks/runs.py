"""What the tables share: runs that are trained once, resumed when they were cut short, and loaded when they are finished."""

from pathlib import Path

from scud.config import Config, differences, read_config
from scud.errors import fail
from scud.experiment import train
from scud.runs import Run, load


def train_once(config: Config, folder: Path) -> Run:
    """Train into a folder unless that has been done, and load the result.

    Raises:
        UserError: the folder holds a run with other options.
    """
    started, finished = (folder / "config.yaml").exists(), folder / "finished"
    if finished.exists():
        changed = differences(config, read_config(folder / "config.yaml"))
        if changed:
            raise fail(
                "folder", "hold a run with these options", f"{folder} with another {', '.join(changed)}", "remove it"
            )
    else:
        train(config, folder, resume=started, device="cpu", progress=False)
        finished.touch()
    return load(folder)
