"""Several processes train one network together as one process does with as many accumulation steps."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scud.errors import UserError
from scud.ranks import Ranks, ranks_of
from scud.training import checkpoint, metrics
from scud.training.options import ByExamples
from tests.integration.conftest import Command
from tests.integration.test_resume import rows
from tests.unit.sequences import random_fasta

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")

PROGRAM = """
import os, shutil, signal, sys
from scud.cli import main
from scud.training.module import DiffusionTraining

step = DiffusionTraining.optimizer_step
wanted, rank, number = os.environ["STOP"].split()

def then_stop(module, *arguments, **options):
    step(module, *arguments, **options)
    if module.step == int(wanted) and module.trainer.global_rank == int(rank):
        os.kill(os.getpid(), int(number))

DiffusionTraining.optimizer_step = then_stop
again = "RESUME" in os.environ and "LOCAL_RANK" not in os.environ
if again and os.fork():  # the first run is a child of this process, which has loaded all that both need
    assert os.wait()[1] != 0
    shutil.copy(os.path.join(os.environ["RESUME"], "checkpoints", "last.ckpt"), os.environ["RESUME"] + ".ckpt")
    wanted, os.environ["STOP"] = "0", "0 0 0"
    sys.argv.append("--resume")
sys.exit(main(sys.argv[1:]))
"""
"""Stops itself by a signal: STOP holds the step, the rank and the number of the signal; the run in the folder RESUME goes on."""


def together(
    *command: object,
    stop: str = "0 0 0",
    launcher: tuple[str, ...] = (),
    resume: Path | None = None,
) -> tuple[int, str]:
    """Run a command in processes of its own; its exit status, and what it said."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT / "src"),
        "STOP": stop,
        **({"RESUME": str(resume)} if resume else {}),
    }
    done = subprocess.run(
        [sys.executable, *launcher, *map(str, command)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def same_numbers(run: Path, other: Path) -> None:
    """Metrics are the same up to the rounding of sums."""
    ours, theirs = rows(run), rows(other)
    assert [row.step for row in ours] == [row.step for row in theirs]
    for one, two in zip(ours, theirs, strict=True):
        values, others = one.measured(), two.measured()
        assert values.keys() == others.keys()
        for name, value in values.items():
            other = others[name]
            assert value == (other if other is None else pytest.approx(other, rel=1e-4)), name


EIGHT = [
    "--training.steps=8",
    "--training.validate-every=4",
    "--training.batch-size=12",
    "--device=cpu",
    "--seed=3",
]
"""Options of a run of eight steps; with this seed the second of its two validations is the better one."""


@pytest.mark.long
def test_two_processes_are_two_accumulation_steps(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    command = ["train", "images", *tiny, *EIGHT]
    status, said = together("-m", "scud", *command, "--training.devices=2", "--out", two)
    assert status == 0, said
    assert said.count("wrote ") == 1, "one of them says how it went"
    assert scud(*command, "--training.accumulate=2", "--out", one).status == 0
    same_numbers(two, one)
    assert {path.name for path in two.rglob("*")} == {path.name for path in one.rglob("*")}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["proteins", "text"])
def test_two_processes_are_two_accumulation_steps_whatever_the_data(
    scud: Command,
    small: list[str],
    small_text: list[str],
    text: Path,
    tmp_path: Path,
    kind: str,
) -> None:
    sequences = random_fasta(tmp_path / "proteins.fasta", 60, 8, 40)
    options = {
        "proteins": ["proteins", *small, f"--data.train={sequences}"],
        "text": ["text", *small_text, f"--data.train={text}"],
    }[kind]
    two, one = tmp_path / "two", tmp_path / "one"
    command = ["train", *options, "--device=cpu"]
    status, said = together("-m", "scud", *command, "--training.devices=2", "--out", two)
    assert status == 0, said
    assert scud(*command, "--training.accumulate=2", "--out", one).status == 0
    same_numbers(two, one)


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.long)])
def test_a_process_that_is_killed_ends_all_and_the_run_goes_on(
    scud: Command, program: Path, tiny: list[str], tmp_path: Path, rank: int
) -> None:
    """With one process, as a run of two accumulation steps; with others the data stay the same."""
    two, one = tmp_path / "two", tmp_path / "one"
    command = ["train", "images", *tiny, *EIGHT, "--training.devices=2", "--out", two]
    stop = f"6 {rank} {int(signal.SIGKILL)}"
    status, said = together(program, *command, stop=stop, resume=two)
    assert status == 0, said
    last = checkpoint.read(two.with_suffix(".ckpt"))
    assert (last.step, last.multiple) == (4, 2), "which the first run has left"
    alone = ["train", "images", *tiny, *EIGHT, "--training.accumulate=2", "--out", one]
    assert scud(*alone).status == 0
    same_numbers(two, one)


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 3])
def test_a_run_of_two_processes_goes_on_with_another_number(
    program: Path, small: list[str], tmp_path: Path, count: int
) -> None:
    """Of sequences too: the multiple that batches are of is that of the beginning."""
    sequences = random_fasta(tmp_path / "proteins.fasta", 60, 8, 40)
    run = tmp_path / "run"
    options = ["train", "proteins", *small, f"--data.train={sequences}", "--device=cpu"]
    stop = f"4 1 {int(signal.SIGKILL)}"
    status, _ = together(program, *options, "--training.devices=2", "--out", run, stop=stop)
    assert status != 0
    more = ["--out", run, "--resume", f"--training.devices={count}", "--device=cpu"]
    status, said = together("-m", "scud", "train", run / "config.yaml", *more)
    assert status == 0, said
    assert checkpoint.read(run / "checkpoints" / "last.ckpt").multiple == 2
    assert [row.step for row in metrics.read(run / "metrics.csv")] == list(range(1, 7))


@pytest.mark.long
def test_torchrun_starts_them_too_and_a_signal_to_one_stops_all(
    program: Path, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    command = ["train", "images", *tiny, *EIGHT, "--training.devices=2", "--out", run]
    stop = f"5 1 {int(signal.SIGTERM)}"
    status, said = together(program, *command, stop=stop, launcher=torchrun)
    assert status != 0
    assert "--resume" in said
    step = checkpoint.read(run / "checkpoints" / "last.ckpt").step
    assert step in (5, 6)
    status, said = together(program, *command, "--resume", launcher=torchrun)
    assert status == 0, said
    assert [row.step for row in metrics.read(run / "metrics.csv")] == list(range(1, 9))


def settings(**options: int) -> ByExamples:
    return ByExamples(**options)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Ranks(2, 3, 0, 0, "command")),
        ({"LOCAL_RANK": "1", "NODE_RANK": "2"}, Ranks(2, 3, 5, 1, "command")),
        (
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "6", "RANK": "4"},
            Ranks(2, 3, 4, 0, "torchrun"),
        ),
        ({"SLURM_NTASKS": "6", "SLURM_PROCID": "3"}, Ranks(2, 3, 3, 1, "slurm")),
    ],
)
def test_who_has_started_a_process_and_which_it_is(
    environ: dict[str, str], expected: Ranks
) -> None:
    found = ranks_of(2, 3, CPU, environ)
    assert found == expected
    assert found.count == 6
    assert found.writes == (found.rank == 0)
    assert found.place(CPU) == CPU
    assert found.place(torch.device("cuda")) == torch.device("cuda", found.local)
    if found.launcher == "torchrun":
        with pytest.raises(UserError, match="as many processes as torchrun has started, 6, got 1"):
            ranks_of(1, 1, CPU, environ)
        return
    assert ranks_of(1, 1, CPU, environ) == Ranks(), "one process is alone, whatever is said"


Refusal = tuple[Callable[[], object], str]

REFUSED: dict[str, Refusal] = {
    "another number of processes": (
        lambda: ranks_of(4, 1, CPU, {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}),
        "be as many processes as slurm has started, 2, got 4 x 1",
    ),
    "more GPUs than there are": (
        lambda: ranks_of(64, 1, torch.device("cuda"), {}),
        "training.devices must be at most",
    ),
    "a rank that is no number": (
        lambda: ranks_of(2, 1, CPU, {"LOCAL_RANK": "x"}),
        "LOCAL_RANK must be a whole number in the environment, got 'x'",
    ),
    "a rank of more processes than there are": (
        lambda: ranks_of(2, 1, CPU, {"NODE_RANK": "1"}),
        "the rank of this process must be below 2, got 2",
    ),
    "a million processes": (
        lambda: ranks_of(1_000_000, 1, CPU, {}),
        "training.devices must be at most 256, processes of a CPU",
    ),
    "no devices": (lambda: settings(devices=0), "devices must be at least 1"),
    "no nodes": (lambda: settings(num_nodes=0), "num_nodes must be at least 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        make()


def test_the_name_of_a_launcher_alone_makes_no_ranks() -> None:
    for environ in ({"TORCHELASTIC_RUN_ID": "x"}, {"SLURM_PROCID": "1"}):
        assert ranks_of(1, 1, CPU, environ) == Ranks()
        assert ranks_of(2, 1, CPU, environ) == Ranks(2)


def test_one_gpu_by_name_is_not_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    place = torch.device("cuda", 3)
    assert ranks_of("auto", 1, place, {}) == Ranks()
    assert ranks_of("auto", 1, torch.device("cuda"), {}).count == 8
    with pytest.raises(UserError, match="name no single GPU for 2 processes, got cuda:3"):
        ranks_of(2, 1, place, {})


def test_a_batch_that_cannot_be_divided_is_refused(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    command = ["train", "images", *tiny, "--training.devices=2", "--device=cpu"]
    outcome = scud(*command, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert "training.batch_size must be divisible by" in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_a_machine_that_never_comes_is_waited_for_no_longer_than_that(
    tiny: list[str], tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from datetime import timedelta\n"
        "from scud.cli import main\n"
        "from scud.training import processes\n"
        "processes.TIMEOUT = timedelta(seconds=4)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["train", "images", *tiny, *EIGHT, "--training.num-nodes=2"]
    status, said = together(program, *command, "--out", tmp_path / "run")
    assert status == 2, said
    assert "the processes of this run must go on together, got Timed out" in said
    assert "Traceback" not in said
    status, said = together("-m", "scud", *command[:-1], "--out", tmp_path / "run", "--resume")
    assert status == 0, said
