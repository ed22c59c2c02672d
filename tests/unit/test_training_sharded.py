"""Networks and checkpoints that are shared out; what the command makes of them is in tests/integration/test_sharded.py."""

import math
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from scud.diffusion.objectives import Bound
from scud.errors import UserError
from scud.front import job_of
from scud.networks import DiT, dit
from scud.training import checkpoint, shards
from scud.training.checkpoint import Checkpoint
from scud.training.ema import Ema
from scud.training.files import RunFolder
from scud.training.metrics import MEASURED
from scud.training.module import laid_out
from scud.training.options import ByExamples
from scud.training.sharded import forget_gathered, gather, part_of, shard, units
from scud.typing import Conditioning
from tests.unit import sharding
from tests.unit.front import DATA, MODELS, Plain

ROOT = Path(__file__).parents[2]


class Network(nn.Module):
    """Blocks in lists of lists, a buffer, and weights that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(5, 4))
        self.stages = nn.ModuleList(
            nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))]) for _ in range(2)
        )
        self.more = nn.ModuleDict({"tied": nn.Linear(4, 5, bias=False), "free": nn.Tanh()})
        self.more["tied"].weight = self.embedding
        self.register_buffer("shift", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.embedding[x] + self.shift
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                hidden = hidden + block(hidden)
        logits: Tensor = self.more["tied"](self.more["free"](hidden))
        return logits


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeviceMesh]:
    """A group of one process."""
    meeting = tmp_path_factory.mktemp("group") / "meeting"
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def network() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network()


def test_units_are_what_stands_in_lists_and_shares_no_weight() -> None:
    net = network()
    assert units(net) == [block for stage in net.stages for block in stage.children()]
    twice = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    twice.append(twice[0])
    assert units(nn.Sequential(twice)) == [twice[1]], "the first is used twice"
    assert units(nn.Linear(2, 2)) == []


def trained(net: nn.Module, ema: Ema, steps: int = 3) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    for step in range(steps):
        optimizer.zero_grad()
        net(torch.arange(5)).square().mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
        ema.update(net, step)
        with torch.no_grad():
            ema.network(torch.arange(5))
        forget_gathered(ema.network)
    return optimizer


def both(mesh: DeviceMesh) -> tuple[Network, Ema, torch.optim.Optimizer, Ema]:
    """A sharded network, its average and optimiser after three steps, and the average of a whole one."""
    whole, part = network(), network()
    ema, ema_of_part = Ema(whole, 0.9), Ema(part, 0.9)
    shard(part, mesh)
    shard(ema_of_part.network, mesh)
    trained(whole, ema)
    return part, ema_of_part, trained(part, ema_of_part), ema


def test_a_sharded_network_trains_and_averages_as_a_whole_one(mesh: DeviceMesh) -> None:
    _, sharded, _, ema = both(mesh)
    into = network()
    gather(sharded.network, into)
    for name, value in ema.network.state_dict().items():
        torch.testing.assert_close(into.state_dict()[name], value)
    assert type(into) is Network


class PlainEvidence:
    """Every state says itself."""

    probs = torch.eye(5)[None]

    def embed(self, weight: Tensor) -> Tensor:
        return self.probs @ weight


def test_logits_that_are_made_after_the_forward_pass_have_gradients(
    mesh: DeviceMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The DiT hands out its last layer where there are many states."""
    monkeypatch.setattr(dit, "LARGE_OUTPUT", 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = DiT(5, width=8, layers=2, heads=2, dropout=0.0)
    nn.init.normal_(whole.out.weight)
    part = deepcopy(whole)
    shard(part, mesh)
    x = torch.arange(5)[None]
    given = Conditioning(torch.zeros(1), evidence=PlainEvidence())
    for net in (whole, part):
        for _ in range(2):
            net.zero_grad()
            logits = net(x, given)
            (logits.features @ logits.weight.T + logits.bias).square().mean().backward()
    for ours, theirs in zip(part.parameters(), whole.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None and theirs.grad is not None:
            torch.testing.assert_close(shards.local(ours.grad), theirs.grad)


def state_of(net: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, step: int) -> Checkpoint:
    """With the best validation so far."""
    average, kept = ema.network.state_dict(), optimizer.state_dict()
    row = {**dict.fromkeys(MEASURED, 1.0), "valid_bits_per_dim": 1.5 / math.log(2)}
    return Checkpoint(step, net.state_dict(), average, kept, 1.5, 2.0, row=row)


@pytest.fixture
def written(mesh: DeviceMesh, tmp_path: Path) -> tuple[RunFolder, Checkpoint]:
    """A run folder with a sharded checkpoint, last and best; and the same unsharded."""
    part, ema, optimizer, _ = both(mesh)
    files = RunFolder(tmp_path / "run")
    files.checkpoints.mkdir(parents=True)
    state = state_of(part, ema, optimizer, 3)
    noted = checkpoint.write_shards(files.checkpoints, state)
    checkpoint.write(files.last, noted)
    checkpoint.write(files.best, noted)
    return files, state


def test_shards_are_read_as_whole_tensors(written: tuple[RunFolder, Checkpoint]) -> None:
    files, state = written
    found = checkpoint.read(files.last)
    assert (found.step, found.best, found.shards) == (3, 1.5, None)
    for ours, theirs in ((found.network, state.network), (found.average, state.average)):
        assert sorted(ours) == sorted(theirs)
        assert all(shards.local(theirs[name]).equal(value) for name, value in ours.items())
    moments = state.optimizer["state"]
    assert found.optimizer["param_groups"] == state.optimizer["param_groups"]
    assert found.optimizer["state"].keys() == moments.keys()
    for place, kept in found.optimizer["state"].items():
        assert kept.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for name, value in kept.items():
            assert shards.local(moments[place][name]).equal(value)
    network().load_state_dict(found.network)


def test_moments_are_shared_out_again(mesh: DeviceMesh) -> None:
    net = network()
    shard(net, mesh)
    for weight in net.parameters():
        kept = {"step": torch.tensor(3.0), "exp_avg": torch.randn(weight.shape)}
        again = laid_out(kept, weight)
        assert shards.local(again["exp_avg"]).equal(kept["exp_avg"])
        assert type(again["exp_avg"]) is type(weight.data)
        assert again["step"].equal(kept["step"])
    plain = torch.randn(3)
    assert part_of(plain, torch.zeros(3)) is plain


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Any, str]] = {
    "changed": (flip, "the checksum of"),
    "lost": (Path.unlink, "is missing"),
    "more": (lambda path: (path.parent / "more.safetensors").touch(), "is none of its files"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_shards_are_refused(written: tuple[RunFolder, Checkpoint], damage: str) -> None:
    files, _ = written
    event, message = DAMAGES[damage]
    event(next(files.checkpoints.rglob("*.safetensors")))
    with pytest.raises(UserError, match=message) as refused:
        checkpoint.read(files.last)
    assert "checkpoint must be a complete checkpoint" in str(refused.value)


@pytest.mark.parametrize(
    "note",
    [
        {"folder": "../shards-3", "files": {}},
        {"folder": "shards-3", "files": {"../shard-1-model-1-of-1.safetensors": "0"}},
        {"folder": "shards-3", "files": {"shard-1-model-1-of-1.safetensors": 0}},
        {"folder": "shards-3"},
        [],
    ],
)
def test_a_checkpoint_names_no_other_place(
    written: tuple[RunFolder, Checkpoint], note: object
) -> None:
    files, _ = written
    values = torch.load(files.last, weights_only=True)
    torch.save(values | {"shards": note}, files.last)
    with pytest.raises(UserError, match="shards is not as it should be"):
        checkpoint.read(files.last)


def folders(files: RunFolder) -> set[str]:
    return {path.name for path in files.checkpoints.iterdir() if path.is_dir()}


def test_folders_that_no_checkpoint_names_are_removed(
    written: tuple[RunFolder, Checkpoint], mesh: DeviceMesh
) -> None:
    files, _ = written
    part, ema, optimizer, _ = both(mesh)
    state = state_of(part, ema, optimizer, 3)
    again = checkpoint.write_shards(files.checkpoints, state)
    assert folders(files) == {"shards-3", "shards-3-2"}, "a folder is never written to again"
    checkpoint.write(files.last, again)
    files.remove_unnamed_shards()
    assert folders(files) == {"shards-3", "shards-3-2"}, "the best is the first"
    checkpoint.write(files.best, again)
    (files.checkpoints / "shards-9").mkdir()
    (files.checkpoints / "shards-of-mine").mkdir()
    sound = files.best.read_bytes()
    files.best.write_bytes(b"damaged")
    files.remove_unnamed_shards()
    assert len(folders(files)) == 4, "whatever the damaged one names is there still"
    files.best.write_bytes(sound)
    with files.held():
        assert folders(files) == {"shards-3-2", "shards-of-mine"}
    assert checkpoint.read(files.last).step == 3


def test_a_checkpoint_of_whole_tensors_names_none(written: tuple[RunFolder, Checkpoint]) -> None:
    files, _ = written
    whole = checkpoint.read(files.last)
    for path in (files.last, files.best):
        values = vars(whole).copy()
        del values["shards"]  # as earlier versions wrote it
        torch.save(values, path)
    files.remove_unnamed_shards()
    assert folders(files) == set()


def test_a_lost_best_checkpoint_is_written_again(written: tuple[RunFolder, Checkpoint]) -> None:
    files, _ = written
    last = files.last.read_bytes()
    files.best.unlink()
    checkpoint.write_best_again(files.best, files.last, checkpoint.read(files.last))
    assert files.best.read_bytes() == last


def test_overwriting_removes_shards_and_nothing_else(
    written: tuple[RunFolder, Checkpoint],
) -> None:
    files, _ = written
    mine = files.checkpoints / "shards-3" / "mine.txt"
    mine.touch()
    files.clear(files.config)
    assert [path for path in files.path.rglob("*") if path.is_file()] == [mine]


def test_two_processes_train_and_write_what_one_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.sharding"]
    started = [subprocess.Popen([*command, str(rank), str(tmp_path)], cwd=ROOT) for rank in (0, 1)]
    chain = sharding.Chain()
    ema = Ema(chain, 0.9)
    optimizer = sharding.train(chain, ema, slice(None))
    assert [process.wait(100) for process in started] == [0, 0]
    found = checkpoint.read(tmp_path / "last.ckpt")
    torch.testing.assert_close(found.network, dict(chain.state_dict()))
    torch.testing.assert_close(found.average, dict(ema.network.state_dict()))
    torch.testing.assert_close(found.optimizer["state"], optimizer.state_dict()["state"])
    gathered = torch.load(tmp_path / "average.pt", weights_only=True)
    torch.testing.assert_close(dict(gathered), found.average, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (torch.tensor(1.0), "the network's scale must have an axis, .* got a single number"),
        (torch.ones(2, 3).T, "the network's scale must have an axis, .* got another layout"),
        (torch.ones(1), None),
    ],
)
def test_a_network_that_cannot_be_shared_out_is_refused(scale: Tensor, message: str | None) -> None:
    settings = ByExamples(strategy="fsdp", batch_size=10)
    net = Plain()
    net.register_parameter("scale", nn.Parameter(scale))
    parts = MODELS["masking"](DATA.p0()), net, DATA, settings, Bound(), 0
    if message is None:
        assert job_of(*parts, ranks=2).settings == settings
        return
    with pytest.raises(UserError, match=message):
        job_of(*parts, ranks=2)
