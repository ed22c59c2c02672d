"""Help: quick, complete, and exit statuses."""

import subprocess
import sys

import pytest

from scud.cli import COMMANDS, main
from scud.config import KINDS, Config, changed
from scud.options import Options
from scud.recipes import RECIPES


def flat_options(config: Config) -> list[str]:
    """Every option of the sections as they are, as it is written on the command line."""
    names = []
    for name, value in vars(config).items():
        if isinstance(value, Options):
            names += [f"--{name}.{option}" for option in vars(value)]
        elif name not in KINDS:
            names.append(f"--{name}")
    return [name.replace("_", "-") for name in names]


def show_help(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("recipe", "kinds"),
    [
        ("digits", {}),
        ("images", {"diffusion": "masking"}),
        ("proteins", {}),
        ("lm1b", {"network": "bytenet"}),
        ("arrays", {"process": "dense", "diffusion": "classical", "schedule": "cosine"}),
    ],
)
def test_train_help_names_every_option(
    capsys: pytest.CaptureFixture[str], recipe: str, kinds: dict[str, str]
) -> None:
    chosen = {f"{section}.kind": kind for section, kind in kinds.items()}
    config = changed(RECIPES[recipe](), chosen)
    text = show_help(
        capsys, "train", recipe, *(f"--{name}={kind}" for name, kind in chosen.items())
    )
    options = [
        *flat_options(config),
        "--network.preset",
        "--out",
        "--resume",
        "--overwrite",
        "--device",
    ]
    for option in options:
        assert f"{option} " in text or f"{option}\n" in text, option


def test_train_help_names_no_option_of_another_kind(capsys: pytest.CaptureFixture[str]) -> None:
    text = show_help(capsys, "train", "digits")
    assert "--network.head" in text
    for option in ("--network.heads", "--network.hidden", "--data.train", "--process.nearest"):
        assert option not in text, option


def test_train_help_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """Whitespace aside, since lines are broken anywhere."""
    text = "".join(show_help(capsys, "train").split()).replace("│", "")
    for section, kinds in KINDS.items():
        assert f"--{section}.kind{{{','.join(kinds)}}}" in text


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


def test_what_help_and_the_library_load() -> None:
    """Help does not wait for PyTorch: importing it takes longer than the second that help may take. Options of training
    stand beside what they configure: its help loads that, and no framework.

    Importing the library changes nothing, and needs no framework: options of processes, models, networks and samplers can be
    used where PyTorch, numpy and scipy are all there is.
    """
    program = """
import os, sys

def check_not_loaded(*heavy):
    assert not set(heavy) & set(sys.modules), set(heavy) & set(sys.modules)

def show_help(*command):
    from scud.cli import main
    try:
        main([*command, "--help"])
    except SystemExit:
        pass

if os.fork() == 0:
    from scud.cli import COMMANDS
    show_help()
    for command in COMMANDS:
        if command != "train":
            show_help(command)
    check_not_loaded("torch", "numpy", "pytorch_lightning", "matplotlib", "sklearn", "scipy")
    sys.exit()
assert os.wait()[1] == 0

import torch
state = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
import scud
scud.SCUD, scud.Masking, scud.Classical, scud.Conditioning, dir(scud)
from scud.processes import Uniform
assert torch.equal(state[0], torch.get_rng_state())
assert state[1:] == (torch.get_default_dtype(), torch.get_num_threads())
heavy = {"pytorch_lightning", "pydantic", "tyro", "yaml", "rich", "matplotlib", "sklearn", "safetensors"}
check_not_loaded(*heavy)
for name in heavy | {"Bio", "PIL"}:
    sys.modules[name] = None
import scud.diffusion, scud.evaluation, scud.networks, scud.processes, scud.samplers, scud.schedules
print(scud.processes.GaussianOptions(bandwidth=0.2), scud.samplers.Ancestral(steps=3))
for name in heavy | {"Bio", "PIL"}:
    del sys.modules[name]

show_help("train")
check_not_loaded("pytorch_lightning", "matplotlib", "sklearn", "Bio", "datasets", "tokenizers")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "GaussianOptions(kind='gaussian', bandwidth=0.2" in done.stdout
