"""Two processes, of which each has a part of the network, train as processes do that have all of it, and survive the same.

In short, and without the command, tests/unit/test_training_sharded.py says so too.
"""

import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import scud as library
from scud.training import checkpoint, metrics
from scud.training.files import RunFolder
from tests.integration.conftest import Command, names
from tests.integration.test_ranks import EIGHT, PROGRAM, ROOT, program, same_numbers, together
from tests.integration.test_resume import rows, same_model
from tests.unit.sequences import random_fasta

__all__ = ["program"]

FSDP = ["--training.devices=2", "--training.strategy=fsdp"]
KILL = int(signal.SIGKILL)


def same_weights(run: Path, other: Path) -> None:
    """Saved models are the same up to rounding, which AdamW makes more of where a gradient is next to nothing."""
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (run, other))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-2, atol=2e-3)


def shards_of(run: Path) -> set[str]:
    return {path.name for path in (run / "checkpoints").glob("shards-*")}


def kept(run: Path) -> set[int]:
    """The steps of last.ckpt and best.ckpt."""
    files = [run / "checkpoints" / name for name in ("last.ckpt", "best.ckpt")]
    return {checkpoint.read(file).step for file in files}


@pytest.mark.long
def test_two_processes_with_a_part_of_the_network_each(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    """Train as one does, and save a model that any command reads."""
    two, one = tmp_path / "two", tmp_path / "one"
    command = ["train", "images", *tiny, *EIGHT]
    status, said = together("-m", "scud", *command, *FSDP, "--out", two)
    assert status == 0, said
    assert "warn" not in said.lower(), said
    assert scud(*command, "--training.accumulate=2", "--out", one).status == 0
    same_numbers(two, one)
    same_weights(two, one)
    assert names(two) - names(one) == {
        f"checkpoints/shards-{step}/shard-0000{part}-model-00001-of-00001.safetensors"
        for step in kept(two)
        for part in (1, 2)
    }
    assert {path.name for path in (two / "model").iterdir()} == {"model.safetensors", "config.json"}
    assert scud("sample", two, "--num=2", "--steps=2").status == 0
    run = library.load(two)
    assert type(run.network).__name__ == "UNet"
    assert {weight.dtype for weight in run.network.parameters()} == {torch.float32}


@pytest.fixture(scope="module")
def killed(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sharded run of two processes, the second of which was killed in step 6."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "program.py").write_text(PROGRAM)
    command = ["train", "images", *tiny, *EIGHT, *FSDP, "--out", folder / "run"]
    status, _ = together(folder / "program.py", *command, stop=f"6 1 {KILL}")
    assert status != 0
    return folder / "run"


@pytest.fixture(scope="module")
def unbroken(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process with two accumulation steps."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    command = ["train", "images", *tiny, *EIGHT, "--training.accumulate=2", "--out", run]
    status, said = together("-m", "scud", *command)
    assert status == 0, said
    return run


@pytest.mark.long
@pytest.mark.parametrize(
    ("count", "strategy"), [(2, "fsdp"), (2, "ddp"), (1, "auto"), (3, "fsdp"), (3, "auto")]
)
def test_a_sharded_run_that_was_killed_goes_on_with_any_number(
    killed: Path, unbroken: Path, tmp_path: Path, count: int, strategy: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(killed, run)
    last = checkpoint.read(run / "checkpoints" / "last.ckpt")
    assert (last.step, last.multiple) == (4, 2)
    more = [f"--training.devices={count}", f"--training.strategy={strategy}", "--device=cpu"]
    command = ["train", run / "config.yaml", "--out", run, "--resume", *more]
    status, said = together("-m", "scud", *command)
    assert status == 0, said
    assert [row.step for row in metrics.read(run / "metrics.csv")] == list(range(1, 9))
    if count == 2:
        same_numbers(run, unbroken)
        same_weights(run, unbroken)
    else:
        assert rows(run)[:4] == rows(killed)[:4]
        assert rows(run)[4:] != rows(unbroken)[4:], "the noise is new"
    files = RunFolder(run)
    for path in (files.last, files.best):
        assert checkpoint.read(path).network.keys() == last.network.keys()
    named = {torch.load(path, weights_only=True)["shards"] is not None for path in (files.last,)}
    assert named == {strategy == "fsdp"}


@pytest.mark.long
def test_a_run_with_the_whole_network_in_each_goes_on_sharded(
    program: Path, unbroken: Path, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ["train", "images", *tiny, *EIGHT, "--training.devices=2", "--out", run]
    status, _ = together(program, *command, stop=f"6 0 {KILL}")
    assert status != 0
    command = [*command, "--training.strategy=fsdp", "--resume"]
    status, said = together("-m", "scud", *command)
    assert status == 0, said
    same_numbers(run, unbroken)
    assert shards_of(run) == {f"shards-{step}" for step in kept(run)}


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from scud.cli import main
from scud.training import checkpoint, shards

place, rank = os.environ["STOP"].split()[:2]

def ending(module, name, after, number):
    original, calls = getattr(module, name), []
    def call(*arguments, **options):
        calls.append(1)
        ends = len(calls) == number and os.environ.get("LOCAL_RANK", "0") == rank
        if ends and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if ends:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(module, name, call)

# The validations are after steps 4 and 8, and both are the best so far: last.ckpt is the second file of each.
{
    "in-shards": lambda: ending(shards, "hashed", False, 2),
    "after-shards": lambda: ending(checkpoint, "write_shards", True, 2),
    "after-best": lambda: ending(checkpoint, "write", True, 3),
    "after-last": lambda: ending(checkpoint, "write", True, 4),
    "in-removal": lambda: ending(Path, "rmdir", False, 1),
}[place]()
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("place", "rank", "step"),
    [
        ("in-shards", 1, 4),
        ("after-shards", 0, 4),
        ("after-best", 0, 4),
        ("after-last", 0, 8),
        ("in-removal", 0, 8),
    ],
)
def test_whatever_the_moment_a_checkpoint_names_whole_shards(
    unbroken: Path, tiny: list[str], tmp_path: Path, place: str, rank: int, step: int
) -> None:
    run, killer = tmp_path / "run", tmp_path / "killer.py"
    killer.write_text(KILLED_WHILE_WRITING)
    command = ["train", "images", *tiny, *EIGHT, *FSDP, "--out", run]
    status, said = together(killer, *command, stop=f"{place} {rank} 0")
    assert status != 0, said
    files = RunFolder(run)
    assert checkpoint.read(files.last).step == step
    assert checkpoint.read(files.best).step in (4, 8)
    status, said = together("-m", "scud", *command, "--resume")
    assert status == 0, said
    same_numbers(run, unbroken)
    same_weights(run, unbroken)
    assert {checkpoint.read(path).step for path in (files.last, files.best)} == {8}
    assert len(shards_of(run)) == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", ["proteins", "text"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16-true"])
def test_other_networks_too(
    scud: Command,
    small: list[str],
    small_text: list[str],
    text: Path,
    tmp_path: Path,
    kind: str,
    precision: str,
) -> None:
    sequences = random_fasta(tmp_path / "proteins.fasta", 60, 8, 40)
    options = {
        "proteins": ["proteins", *small, f"--data.train={sequences}"],
        "text": ["text", *small_text, f"--data.train={text}"],
    }[kind]
    two, one = tmp_path / "two", tmp_path / "one"
    command = ["train", *options, "--device=cpu", f"--training.precision={precision}"]
    status, said = together("-m", "scud", *command, *FSDP, "--out", two)
    assert status == 0, said
    assert scud(*command, "--training.accumulate=2", "--out", one).status == 0
    if precision == "float32":
        same_numbers(two, one)
    losses = [
        [row.train_bits_per_dim for row in metrics.read(run / "metrics.csv")] for run in (two, one)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.long
def test_two_processes_go_on_bit_for_bit_with_weights_in_bfloat16(
    program: Path, tiny: list[str], tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = [*tiny, *EIGHT, "--training.devices=2", "--training.precision=bfloat16-true"]
    status, said = together("-m", "scud", "train", "images", *options, "--out", whole)
    assert status == 0, said
    command = ["train", "images", *options, "--out", broken]
    assert together(program, *command, stop=f"6 1 {KILL}")[0] != 0
    status, said = together("-m", "scud", *command, "--resume")
    assert status == 0, said
    assert rows(broken) == rows(whole)
    assert same_model(broken, whole)
    weights = checkpoint.read(broken / "checkpoints" / "last.ckpt").network.values()
    assert {value.dtype for value in weights} == {torch.bfloat16}


@pytest.mark.long
def test_a_disk_that_is_full_for_one_process_is_told(tiny: list[str], tmp_path: Path) -> None:
    """Of shards too, by the limit on the size of a file of the second process."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, resource, signal, sys\n"
        "from scud.cli import main\n"
        "from scud.training import checkpoint\n"
        "write = checkpoint.write_shards\n"
        "def full(*arguments):\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    if os.environ.get('LOCAL_RANK') == '1':\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "    return write(*arguments)\n"
        "checkpoint.write_shards = full\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["train", "images", *tiny, *EIGHT, *FSDP, "--out", tmp_path / "run"]
    status, said = together(program, *command)
    assert status == 2, said
    assert "be written" in said
    assert "File too large" in said
    assert "Traceback" not in said
    status, said = together("-m", "scud", *command, "--overwrite")
    assert status == 0, said
    assert shards_of(tmp_path / "run") == {f"shards-{step}" for step in kept(tmp_path / "run")}


REFUSED = {
    "one device": (["--training.strategy=fsdp"], "training.strategy must be auto or ddp on one"),
    "a compiled network": (
        [*FSDP, "--training.compile=true"],
        "strategy must be auto or ddp with training.compile",
    ),
    "a strategy that is none": (["--training.strategy=fsdp2"], "training.strategy"),
    "no GPU": (["--device=cuda", "--training.devices=2"], "device must exist, got cuda with 0"),
    "a batch that cannot be divided": (
        [*FSDP, "--training.batch-size=9"],
        "training.batch_size must be divisible by",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(
    scud: Command,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    options, message = REFUSED[case]
    outcome = scud("train", "images", *tiny, "--device=cpu", *options, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert message in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device=cuda", "--training.devices=5"], "training.devices must be at most 4, the GPUs"),
        (["--device=cuda:3", "--training.devices=2"], "device must name no single GPU for 2"),
        (
            ["--device=cuda:3", "--training.devices=auto", "--training.strategy=fsdp"],
            "on one device",
        ),
    ],
)
def test_what_four_gpus_cannot_do_is_refused(
    scud: Command,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    outcome = scud("train", "images", *tiny, *options, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert message in outcome.err
    assert not (tmp_path / "run").exists()


ALONE = """
import os, signal, sys, time
import torch
import scud
from scud.errors import UserError
from scud.training import processes
from scud.training.module import DiffusionTraining
from tests.unit.front import DATA, MODELS, SHORT, network

step, how, rank, folder = DiffusionTraining.optimizer_step, *sys.argv[1:4]
processes.GRACE = 1.0

def then_fail(module, *arguments, **options):
    step(module, *arguments, **options)
    if module.step == 2 and module.trainer.global_rank == int(rank):
        if how != "raised":
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError("alone")
    if module.step == 2 and how == "hangs":
        time.sleep(60)

DiffusionTraining.optimizer_step = then_fail
model, options = MODELS["masking"](DATA.p0()), {**SHORT, "device": "cpu", "progress": False, "devices": 2}
try:
    scud.fit(model, network(), DATA, folder, **options)
except UserError as error:
    began = time.monotonic()
    print(os.environ.get("RANK", "0"), "caught", error, flush=True)
    time.sleep(8)
    print("alive", flush=True)
"""


def alone(folder: Path) -> Path:
    program = folder / "alone.py"
    program.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{ALONE}")
    return program


@pytest.mark.long
@pytest.mark.parametrize(("how", "rank"), [("killed", 1), ("raised", 1), ("raised", 0)])
def test_an_error_reaches_whoever_called_fit(tmp_path: Path, how: str, rank: int) -> None:
    """And who did lives on, whatever has become of the other process."""
    program = alone(tmp_path)
    status, said = together(program, how, rank, tmp_path / "run")
    assert status == 0, said
    told = "alone" if rank == 0 else "the processes of this run must go on together"
    assert f"0 caught {told}" in said
    assert said.strip().endswith("alive")


@pytest.mark.long
def test_a_process_that_notices_nothing_is_ended(tmp_path: Path) -> None:
    """As one on a GPU may wait for ever for another."""
    status, said = together(alone(tmp_path), "hangs", 1, tmp_path / "run")
    assert status == 1, said
    assert "another process of this run has ended with status -9" in said
    assert "alive" not in said


@pytest.mark.long
def test_a_process_that_fails_alone_under_torchrun_ends_the_others(tmp_path: Path) -> None:
    """Though it lives on, the other does not wait for it."""
    program = alone(tmp_path)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    status, said = together(program, "raised", 0, tmp_path / "run", launcher=torchrun)
    assert status == 0, said
    lines = [line for line in said.splitlines() if "caught" in line or "alive" in line]
    assert sorted(line.split()[0] for line in lines[:2]) == ["0", "1"], "before any has ended"
    assert "1 caught the processes of this run must go on together" in said
