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

PROGRAM = """
import os
import sys

NAMES = GIVEN_PACKAGES

class Blocker:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        blocked = name.partition(".")[0] in NAMES.values()
        return None if blocked else self.finder.find_spec(name, path, target)

    def find_distributions(self, *arguments):
        found = getattr(self.finder, "find_distributions", lambda *_: ())(*arguments)
        return [each for each in found if each.metadata["Name"].lower() not in NAMES]

    def invalidate_caches(self):
        getattr(self.finder, "invalidate_caches", lambda: None)()

def check_blocked():
    for name in NAMES.values():
        try:
            __import__(name)
        except ModuleNotFoundError:
            continue
        raise AssertionError(f"{name} is found")

sys.meta_path[:] = [Blocker(finder) for finder in sys.meta_path]
check_blocked()

import torch
import scud

x = torch.arange(60).reshape(20, 3) % 5
data = scud.Data.of(train=x, valid=x, num_states=5)

def use(run):
    print(scud.evaluate(run, data.split("valid"), repeats=2))
    print(tuple(scud.sample(run, 3, sampler=scud.samplers.Ancestral(steps=2)).shape))
    print(len(run.sample(2, sampler=scud.samplers.Ancestral(steps=2))))

if os.fork() == 0:  # what trains loads Lightning, in a process of its own
    model = scud.SCUD(scud.processes.Uniform(5), scud.schedules.Linear(), p0=data.p0())
    network = scud.networks.DiT(5, width=16, layers=1, heads=2, dims=data.dims)
    options = {"steps": 6, "batch_size": 10, "validate_every": 3, "validation_repeats": 1}
    use(scud.fit(model, network, data, GIVEN_FOLDER, device="cpu", **options))
    sys.exit()
assert os.wait()[1] == 0
NAMES |= GIVEN_MORE
check_blocked()
print("without Lightning", flush=True)
use(scud.load(GIVEN_FOLDER))
"""
"""Trains, and uses what it has trained, where some packages are not found; then uses it where more are not."""


def test_all_of_it_works_without_what_commands_and_files_need(tmp_path: Path) -> None:
    """And all but training without Lightning, which brings PyYAML."""
    given = {
        "GIVEN_PACKAGES": PACKAGES,
        "GIVEN_MORE": OF_LIGHTNING,
        "GIVEN_FOLDER": str(tmp_path / "run"),
    }
    program = PROGRAM
    for name, value in given.items():
        program = program.replace(name, repr(value))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    told = done.stderr.splitlines()
    assert any(line.startswith("training 6/6 ") for line in told), "lines in place of a bar"
    trained, used = (part.splitlines() for part in done.stdout.split("without Lightning\n"))
    for lines in (trained, used):
        assert "bits/dim, of 20 examples by 2 draws each" in lines[-4]
        assert lines[-2:] == ["(3, 3)", "2"]
    assert used[-4] == trained[-4]
