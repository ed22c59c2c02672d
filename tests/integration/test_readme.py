"""The README's Python example runs as written, and its commands and the guide's exist with the options they show."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from scud.cli import COMMANDS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
GUIDE = (Path(__file__).parents[2] / "docs" / "proteins.md").read_text(encoding="utf-8")
COMMANDS_SHOWN = sorted(set(re.findall(r"^scud \w+ .*$", README + GUIDE, flags=re.MULTILINE)))


def test_every_blank_is_filled() -> None:
    assert not re.findall(r"\b[A-Z]+_[A-Z]+\b", README.replace("SCUD_DATA", ""))


def test_pictures_exist() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert pictures
    assert all((Path(__file__).parents[2] / name).is_file() for name in pictures)


def test_python_example() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(code, "README.md", "exec"), names)
    images, loss = names["images"], names["loss"]
    assert isinstance(images, torch.Tensor)
    assert images.shape == (16, 1, 8, 8)
    assert isinstance(loss, torch.Tensor)
    assert 0 < float(loss.detach()) < 2.5, "fifty steps improve on log(17) = 2.8 nats"


@pytest.mark.parametrize("line", COMMANDS_SHOWN)
def test_commands_parse(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every command shown is understood: it gets past reading options to doing its work (which is cut off here)."""
    from scud import experiment, runs
    from scud.cli import main

    class ReachedError(Exception):
        pass

    def reached(*_: object, **__: object) -> None:
        raise ReachedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "train", reached)
    monkeypatch.setattr(runs, "load", reached)
    _, command, *rest = shlex.split(line)
    assert command in COMMANDS
    if rest[0].endswith("config.yaml"):
        pytest.fail("show a command whose configuration need not exist")
    with pytest.raises(ReachedError):
        main([command, *rest])
