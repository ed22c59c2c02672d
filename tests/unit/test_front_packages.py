"""The front door works without what commands and files of data need."""

import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "pydantic": "pydantic",
    "tyro": "tyro",
    "rich": "rich",
    "scikit-learn": "sklearn",
    "biopython": "Bio",
    "matplotlib": "matplotlib",
    "pillow": "PIL",
}
"""What commands, files and single kinds of data need, and what it is imported as."""

OF_LIGHTNING = {
    "pytorch-lightning": "pytorch_lightning",
    "torchmetrics": "torchmetrics",
    "pyyaml": "yaml",
}
"""What training needs beside."""

BLOCK = """
import sys

PACKAGES = GIVEN_PACKAGES
BLOCKED = set(PACKAGES.values())

class Blocker:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        blocked = name.partition(".")[0] in BLOCKED
        return None if blocked else self.finder.find_spec(name, path, target)

    def find_distributions(self, *arguments):
        found = getattr(self.finder, "find_distributions", lambda *_: ())(*arguments)
        return [each for each in found if each.metadata["Name"].lower() not in PACKAGES]

    def invalidate_caches(self):
        getattr(self.finder, "invalidate_caches", lambda: None)()

sys.meta_path[:] = [Blocker(finder) for finder in sys.meta_path]
for name in BLOCKED:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} is found")

import torch
import scud

x = torch.arange(60).reshape(20, 3) % 5
data = scud.Data.of(train=x, valid=x, num_states=5)
"""
"""The start of a program in which some packages are not found."""

TRAIN = """
model = scud.SCUD(scud.processes.Uniform(5), scud.schedules.Linear(), p0=data.p0())
network = scud.networks.DiT(5, width=16, layers=1, heads=2, dims=data.dims)
options = {"steps": 6, "batch_size": 10, "validate_every": 3, "validation_repeats": 1}
run = scud.fit(model, network, data, FOLDER, device="cpu", **options)
"""

USE = """
print(scud.evaluate(run, data.split("valid"), repeats=2))
print(tuple(scud.sample(run, 3, sampler=scud.samplers.Ancestral(steps=2)).shape))
print(len(run.sample(2, sampler=scud.samplers.Ancestral(steps=2))))
"""


def program(text: str, packages: dict[str, str], folder: Path) -> tuple[list[str], list[str]]:
    """What a program prints where these packages are not found: its results, and what it says beside."""
    text = (BLOCK + text).replace("GIVEN_PACKAGES", repr(packages))
    done = subprocess.run(
        [sys.executable, "-c", text.replace("FOLDER", repr(str(folder)))],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_all_of_it_works_without_what_commands_and_files_need(tmp_path: Path) -> None:
    """And all but training without Lightning, which brings PyYAML."""
    trained, said = program(TRAIN + USE, PACKAGES, tmp_path)
    assert any(line.startswith("training 6/6 ") for line in said), "lines in place of a bar"
    used, _ = program("run = scud.load(FOLDER)" + USE, PACKAGES | OF_LIGHTNING, tmp_path)
    for lines in (trained, used):
        assert "bits/dim, of 20 examples by 2 draws each" in lines[-4]
        assert lines[-2:] == ["(3, 3)", "2"]
    assert used[-4] == trained[-4]
