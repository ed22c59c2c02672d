"""Threads of `scud train`: tried before a new run, kept in its config.yaml, or given by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from scud import front
from scud.config import read_config
from scud.training import threads
from tests.integration.conftest import STEPS, Command, names, resume
from tests.integration.test_resume import rows, same_model
from tests.unit.front import fit

Seen = list[tuple[int, Any]]


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of two cores, and a caller who uses both; runs of few steps are long enough."""
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads, "LEAST_STEPS", 2)
    torch.set_num_threads(2)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Seconds of a step by threads; where there are none, nothing may be tried."""
    seconds: dict[int, float] = {}

    def measured(_: object, numbers: list[int]) -> dict[int, list[float]]:
        assert seconds, "nothing is to be tried"
        return {number: [seconds[number]] for number in numbers}

    monkeypatch.setattr(threads, "time_steps", measured)
    return seconds


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """With how many threads every training began, and which number config.yaml had then."""
    seen: Seen = []
    train = front.train_job

    def record(job: Any, data: Any, files: Any, **options: Any) -> Any:
        values = yaml.safe_load(files.config.read_text())
        seen.append((torch.get_num_threads(), values.get("threads")))
        return train(job, data, files, **options)

    monkeypatch.setattr(front, "train_job", record)
    return seen


@pytest.fixture
def few(tiny: list[str]) -> list[str]:
    return [*tiny, "--training.steps=2", "--training.warmup=1", "--training.decay=constant"]


def test_the_fastest_is_written_before_the_first_step_and_used_on_resume(
    scud: Command, few: list[str], tmp_path: Path, times: dict[int, float], began: Seen
) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    times |= {1: 0.3, 2: 1.0}
    first = scud("train", "images", *few, "--out", run)
    assert first.status == 0
    line = "threads: 1 (a step took 0.3 s with 1, 1 s with 2; --threads decides by hand)"
    assert first.err.splitlines().count(line) == 1
    assert began == [(1, 1)]
    assert torch.get_num_threads() == 2

    times.clear()
    resumed = scud("train", "images", *few, "--training.steps=3", "--out", run, "--resume")
    assert resumed.status == 0
    assert "threads:" not in resumed.err
    assert scud("train", run / "config.yaml", "--out", again).status == 0
    assert began[1:] == [(1, 1)] * 2
    assert (run / "config.yaml").read_bytes() == (again / "config.yaml").read_bytes()


def test_trying_leaves_no_trace(
    scud: Command, few: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "ROUNDS", 2)
    tried, given = tmp_path / "tried", tmp_path / "given"
    options = [*few, "--training.accumulate=3", "--data.flips=true"]
    assert "threads: " in scud("train", "images", *options, "--out", tried).err
    number = read_config(tried / "config.yaml").threads
    assert number in (1, 2)
    by_hand = scud("train", "images", *options, "--out", given, "--threads", number)
    assert "threads: " not in by_hand.err
    assert rows(tried) == rows(given)
    assert same_model(tried, given)
    assert names(tried) == names(given)
    assert (tried / "config.yaml").read_bytes() == (given / "config.yaml").read_bytes()


@pytest.mark.usefixtures("times")
def test_a_number_given_by_hand_decides(
    scud: Command, few: list[str], tmp_path: Path, began: Seen
) -> None:
    """Above what the caller has set too, and when a run goes on."""
    run = tmp_path / "run"
    torch.set_num_threads(1)
    assert scud("train", "images", *few, "--out", run, "--threads", 2).status == 0
    assert scud("train", run / "config.yaml", "--threads=1", "--out", run, "--resume").status == 0
    assert began == [(2, 2), (1, 1)]


@pytest.mark.usefixtures("times")
def test_runs_without_a_number_go_on_as_they_began(
    scud: Command, finished: Path, began: Seen
) -> None:
    """Such as one of an earlier version, whose config.yaml has no such name."""
    config = finished / "config.yaml"
    text = config.read_text().replace("threads: null\n", "")
    config.write_text(text)
    assert read_config(config).threads is None
    assert resume(scud, finished).status == 0
    assert config.read_text() == text
    config.write_text(f"{text}threads: null\n")
    assert resume(scud, finished).status == 0
    assert began == [(2, None)] * 2


def test_a_run_killed_before_its_first_checkpoint_keeps_its_number(
    scud: Command,
    few: list[str],
    tmp_path: Path,
    times: dict[int, float],
    began: Seen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    times |= {1: 0.3, 2: 1.0}

    def killed(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(front, "train_job", killed)
        with pytest.raises(RuntimeError, match="power cut"):
            scud("train", "images", *few, "--out", run)
    times.clear()
    assert scud("train", "images", *few, "--out", run, "--resume").status == 0
    assert began == [(1, 1)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0", "threads must be at least 1, got 0; leave it out"),
        ("-1", "threads must be at least 1, got -1; leave it out"),
        ("3", "threads must be at most 2, the cores at hand, got 3; give --threads 2 or fewer"),
        ("9" * 400, "threads must be at most 2, the cores at hand, got a number of more than"),
        ("two", "two"),
        ("1.5", "1.5"),
    ],
)
def test_other_numbers_are_refused(
    scud: Command, few: list[str], tmp_path: Path, given: str, said: str
) -> None:
    refused = scud("train", "images", *few, "--out", tmp_path / "run", f"--threads={given}")
    assert refused.status == 2
    assert said in " ".join(refused.err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("times")
def test_a_run_of_a_larger_machine_goes_on_with_the_cores_at_hand(
    scud: Command, tiny: list[str], finished: Path, tmp_path: Path, began: Seen
) -> None:
    """Its config.yaml keeps its number; more than there are by hand, or for a new run, stay refused."""
    config = finished / "config.yaml"
    config.write_text(config.read_text().replace("threads: null", "threads: 8"))
    text = config.read_text()
    options = ["images", *tiny, *STEPS]
    for resumed in (resume(scud, finished), scud("train", *options, "--out", finished, "--resume")):
        assert resumed.status == 0, resumed.err
        line = "threads: 2, the cores at hand; this run began with 8"
        assert resumed.err.splitlines().count(line) == 1
        assert config.read_text() == text
    assert began == [(2, 8)] * 2

    for given in (["--out", finished, "--resume", "--threads=8"], ["--out", tmp_path / "again"]):
        refused = scud("train", config, *given)
        assert (refused.status, refused.err.count("\n")) == (2, 1)
        assert "at most 2, the cores at hand, got 8; give --threads 2 or fewer" in refused.err
    assert scud("evaluate", finished, "--repeats=1").status == 0
    by_hand = scud("train", config, "--out", finished, "--resume", "--threads=1")
    assert by_hand.status == 0
    assert "threads:" not in by_hand.err
    assert read_config(config).threads == 1


def test_nothing_is_written_before_trying_ends(
    scud: Command,
    few: list[str],
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C while steps are tried leaves the run that is to be replaced."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threads, "time_steps", stopped)
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert scud("train", "images", *few, "--out", finished, "--overwrite").status == 130
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("times")
def test_the_library_leaves_threads_alone(tmp_path: Path) -> None:
    seen: list[int] = []
    fit(tmp_path / "fit", callbacks=[lambda _: seen.append(torch.get_num_threads())])
    assert set(seen) == {2}
    assert torch.get_num_threads() == 2
