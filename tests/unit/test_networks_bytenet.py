"""ByteNet reads all it is given, at every position within reach, and nothing of padding or of other sequences."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scud import SCUD, Classical, Diffusion, Masking, Noisy
from scud.errors import UserError
from scud.networks import NETWORKS, ByteNet
from scud.networks.bytenet import PRESETS
from scud.processes import Blosum62
from scud.schedules import Linear
from scud.typing import Batch, Conditioning, Given
from tests.unit.test_networks import awake

B = 20
P0 = torch.full((B,), 1 / B, dtype=torch.float64)


def models() -> dict[str, Diffusion]:
    process = Blosum62()
    return {
        "scud": SCUD(process, Linear(), p0=P0),
        "classical": Classical(process, Linear(), p0=P0),
        "masking": Masking(B, p0=P0),
    }


def network(layers: int = 4) -> ByteNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return awake(ByteNet(B, width=16, layers=layers))


def sequences(*lengths: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random states [n, longest], random at padding too, and the mask."""
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.randint(B, (len(lengths), max(lengths)), generator=generator)
    return x0, torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


@pytest.mark.parametrize("kind", ["scud", "classical", "masking"])
def test_every_parameter_learns(kind: str) -> None:
    net = network()
    x0, mask = sequences(9, 30, 17)
    models()[kind].loss(net, Batch(x0, mask), generator=torch.Generator().manual_seed(2)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().max()) > 0, name


@given(
    st.integers(1, 40),
    st.integers(0, 200),
    st.lists(st.integers(1, 60), max_size=4),
    st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_padding_and_neighbours_in_the_batch_change_nothing(
    length: int, extra: int, others: list[int], seed: int
) -> None:
    """The same sequence gives the same logits whatever it is padded to, whatever stands there, whatever else is in the batch."""
    net, generator = network(), torch.Generator().manual_seed(seed)
    lengths = [length, *others]
    x0, mask = sequences(*lengths, seed=seed)
    x0 = torch.nn.functional.pad(x0, (0, extra), value=int(seed % B))
    mask = torch.nn.functional.pad(mask, (0, extra))
    for model in models().values():
        t = torch.full((len(lengths),), 0.4, dtype=torch.float64)
        noisy = model.noise(x0, t, generator)
        batched = net(noisy.x_t, model.condition(noisy, Given(mask=mask)))[0, :length]
        s = None if noisy.s is None else noisy.s[:1, :length]
        alone = Noisy(noisy.x_t[:1, :length], noisy.t[:1], s)
        for real in (None, mask[:1, :length]):
            torch.testing.assert_close(
                net(alone.x_t, model.condition(alone, Given(mask=real)))[0],
                batched,
                rtol=1e-4,
                atol=1e-4,
            )


@torch.no_grad()
def test_counts_reach_their_position_and_others() -> None:
    net, model = network(), models()["scud"]
    x0, _ = sequences(30)
    s = torch.full_like(x0, 3)
    noisy = Noisy(x0, torch.tensor([0.5]), s)
    evidence = model.condition(noisy).evidence
    reference = net(x0, Conditioning(noisy.t, s, evidence=evidence))
    changed = s.clone()
    changed[0, 12] = 1
    moved = (
        (net(x0, Conditioning(noisy.t, changed, evidence=evidence)) - reference).abs().amax(-1)[0]
    )
    assert float(moved[12]) > 1e-4
    assert float(moved[13]) > 1e-4
    assert float(moved[0]) > 1e-6, "four layers reach 2 (1 + 2 + 4 + 8) = 30 positions"


def test_presets_have_the_size_they_say() -> None:
    for name, shape in PRESETS.items():
        with torch.device("meta"):
            net = ByteNet(B, **shape)
        millions = sum(parameter.numel() for parameter in net.parameters()) / 1e6
        assert millions == pytest.approx(float(name.removesuffix("M")), rel=0.35), name
    assert PRESETS["40M"]["layers"] == 16
    assert PRESETS["600M"]["layers"] == 56


def test_spec_and_errors() -> None:
    net = ByteNet(7, width=24, layers=3, dropout=0.1)
    kind = net.spec().pop("kind")
    again = NETWORKS[kind].network(
        **{name: value for name, value in net.spec().items() if name != "kind"}
    )
    assert {n: p.shape for n, p in again.named_parameters()} == {
        n: p.shape for n, p in net.named_parameters()
    }
    for wrong in ({"width": 0}, {"layers": 0}, {"hidden": 0}):
        with pytest.raises(UserError, match=f"{next(iter(wrong))} must be at least 1, got 0"):
            ByteNet(7, **wrong)
    with pytest.raises(UserError, match="dropout must lie in"):
        ByteNet(7, dropout=1.0)
