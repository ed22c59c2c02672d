"""The README's Python examples run as written, and commands shown exist with their options."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import scud
from scud.cli import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = "".join(
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("proteins", "text", "images")
)
COMMANDS_SHOWN = sorted(
    set(re.findall(r"^(?:\$ )?(scud \w+ .*)$", README + GUIDES, flags=re.MULTILINE))
)


def test_every_blank_is_filled() -> None:
    assert not re.findall(r"\b[A-Z]+_[A-Z]+\b", README.replace("SCUD_DATA", ""))


def test_pictures_exist() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / name).is_file() for name in pictures)


def test_python_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as they stand: the second goes on with what the first made."""
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(first, "README.md", "exec"), names)
        run, images = names["run"], names["images"]
        assert isinstance(run, scud.Run)
        assert (
            len((tmp_path / "runs" / "python" / "metrics.csv").read_text().splitlines()) == 1 + 20
        )
        assert isinstance(images, torch.Tensor)
        assert images.shape == (16, 1, 8, 8)
        assert 0 <= int(images.min()) < int(images.max()) <= 16
        exec(compile(second, "README.md", "exec"), names)
    loss, bound = names["loss"], names["bound"]
    assert isinstance(loss, torch.Tensor)
    assert 0 < float(loss.detach()) < 2.5, "it improves on log(17) = 2.8 nats"
    assert isinstance(bound, scud.Elbo)
    assert bound.diffusion.shape == bound.prior.shape == (64,)


@pytest.mark.parametrize("line", COMMANDS_SHOWN)
def test_commands_parse(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every command shown is understood, up to its work, which is cut off here."""
    from scud import experiment, runs
    from scud.cli import main

    class ReachedError(Exception):
        pass

    def reached(*_: object, **__: object) -> None:
        raise ReachedError

    # Which options `scud infill` has depends on the run, which it reads first.
    letters, text = scud.data.find_alphabet("protein"), scud.data.find_tokenizer("bytes")
    kind = (
        scud.data.Text(text, 64)
        if "--text" in line
        else scud.data.Sequences(letters, torch.tensor([0, 1]))
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "train", reached)
    monkeypatch.setattr(runs, "load", reached)
    monkeypatch.setattr(runs, "load_modality", lambda *_: kind)
    _, command, *rest = shlex.split(line)
    assert command in COMMANDS
    if rest[0].endswith("config.yaml"):
        pytest.fail("show a command whose configuration need not exist")
    with pytest.raises(ReachedError):
        main([command, *rest])
