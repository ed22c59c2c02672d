"""Help: quick, complete, and exit statuses."""

import subprocess
import sys

import pytest

from scud.cli import COMMANDS, main
from scud.config import Config


def flat_options() -> list[str]:
    names = []
    for name, field in Config.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        names += [f"--{name}.{option}" for option in inner] if inner else [f"--{name}"]
    return [name.replace("_", "-") for name in names]


def show_help(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_train_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    text = show_help(capsys, "train")
    for option in [*flat_options(), "--out", "--resume", "--overwrite", "--device"]:
        assert f"{option} " in text or f"{option}\n" in text, option


def test_help_shows_the_defaults_of_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert "(default: 50000)" in show_help(capsys, "train", "images")


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("evaluate", ["--split", "--repeats", "--batch-size", "--seed", "--device"]),
        ("sample", ["--num", "--steps", "--out", "--seed", "--device"]),
    ],
)
def test_help_of_other_commands(
    capsys: pytest.CaptureFixture[str], command: str, options: list[str]
) -> None:
    text = show_help(capsys, command)
    assert all(option in text for option in options)


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        text = capsys.readouterr().out
        assert all(command in text for command in COMMANDS)
    assert main(["tarin"]) == 2
    assert "choose from train, evaluate, sample" in capsys.readouterr().err


def test_help_does_not_wait_for_pytorch() -> None:
    """Importing it takes longer than the second that help may take."""
    program = """
import sys
from scud.cli import main
main(["--help"])
for command in ("train", "evaluate", "sample"):
    try:
        main([command, "--help"])
    except SystemExit:
        pass
heavy = {"torch", "numpy", "pytorch_lightning", "matplotlib", "sklearn", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, timeout=120
    )


def test_importing_the_library_changes_nothing_and_needs_no_framework() -> None:
    program = """
import sys, torch
state = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
import scud
scud.SCUD, scud.Masking, scud.Classical, scud.Conditioning, dir(scud)
from scud.processes import Uniform
assert torch.equal(state[0], torch.get_rng_state())
assert state[1:] == (torch.get_default_dtype(), torch.get_num_threads())
heavy = {"pytorch_lightning", "pydantic", "tyro", "yaml", "rich", "matplotlib", "sklearn", "safetensors"}
heavy &= set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
