"""Heads are finite everywhere, counts reach every output, and the U-Net reads all it is given."""

import itertools
from typing import TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scud import SCUD, Classical, Diffusion, Masking
from scud.errors import UserError
from scud.networks import NETWORKS, UNet
from scud.networks.conditioning import NoiseLevel
from scud.networks.heads import logistic_logits
from scud.networks.unet import HEADS, PRESETS, Attention, Block
from scud.processes import Gaussian
from scud.schedules import Linear
from scud.typing import Conditioning

Net = TypeVar("Net", bound=torch.nn.Module)

DIMS = (2, 8, 4)
B = 5


def flat(num_states: int) -> torch.Tensor:
    return torch.full((num_states,), 1 / num_states, dtype=torch.float64)


def models() -> dict[str, Diffusion]:
    process = Gaussian(B, 0.2)
    return {
        "scud": SCUD(process, Linear(), 1.0, p0=flat(B)),
        "classical": Classical(process, Linear(), p0=flat(B)),
        "masking": Masking(B, p0=flat(B)),
    }


def awake(network: Net) -> Net:
    """The network with its zero-initialised layers filled, so that everything that is wired shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["scud", "classical", "masking"])
def test_every_parameter_learns(kind: str, head: str) -> None:
    model = models()[kind]
    network = awake(UNet(B, DIMS, width=16, blocks=1, levels=2, head=head))
    x0 = torch.randint(B, (6, *DIMS), generator=torch.Generator().manual_seed(1))
    model.loss(network, x0, generator=torch.Generator().manual_seed(2)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().max()) > 0, name


def test_counts_reach_their_pixel_and_others() -> None:
    """The output depends on s, at the pixel itself and around it, also where the evidence stays the same."""
    network = awake(UNet(B, DIMS, width=16, blocks=1, levels=2)).requires_grad_(False)
    model = models()["scud"]
    x_t = torch.zeros(1, *DIMS, dtype=torch.long)
    s = torch.full((1, *DIMS), 3)
    noisy = torch.ones(1, dtype=torch.float64)
    evidence = model.evidence.at(x_t, s.double())
    base = network(x_t, Conditioning(t=noisy, s=s, evidence=evidence))
    s[0, 0, 4, 2] = 4
    other = network(x_t, Conditioning(t=noisy, s=s, evidence=evidence))
    change = (base - other).abs().amax(-1)[0]
    assert float(change[0, 4, 2]) > 1e-5
    assert float(change[1, 3, 2]) > 1e-6


@pytest.mark.parametrize(
    ("few", "many"), [(0, 1), (3, 4), (3, 3000), (1000, 3000), (3000, 100_000)]
)
def test_counts_are_told_apart(few: int, many: int) -> None:
    level = NoiseLevel(16)
    counts = torch.tensor([[few, many]])
    features = level(Conditioning(t=torch.ones(1), s=counts), counts)[0].detach()
    assert float((features[0] - features[1]).abs().max()) > 1e-2
    assert bool(torch.isfinite(features).all())


@pytest.mark.parametrize("num_states", [2, 3, 17, 256])
def test_logistic_head_is_finite_with_finite_gradients(num_states: int) -> None:
    """Over a grid far beyond what a network gives, in float32; probabilities sum to 1."""
    grid = [0.0, 1e-6, 0.3, -0.999, 1.0, 2.5, -30.0, 1e4]
    scales = [-200.0, -8.0, -3.0, 0.0, 2.0, 4.0, 50.0]
    points = torch.tensor(list(itertools.product(grid, scales)))
    location, log_scale = (
        points[:, 0].clone().requires_grad_(),
        points[:, 1].clone().requires_grad_(),
    )
    logits = logistic_logits(location, log_scale, num_states)
    assert bool(torch.isfinite(logits).all())
    torch.testing.assert_close(
        logits.double().exp().sum(-1), torch.ones(len(points)).double(), rtol=0, atol=1e-4
    )
    for state in range(0, num_states, max(num_states // 4, 1)):
        loss = torch.nn.functional.cross_entropy(logits, torch.full((len(points),), state))
        gradients = torch.autograd.grad(loss, (location, log_scale), retain_graph=True)
        assert all(bool(torch.isfinite(g).all()) for g in gradients)


@settings(max_examples=50, deadline=None)
@given(location=st.floats(-1.5, 1.5), log_scale=st.floats(-2.5, 2.0), num_states=st.integers(2, 40))
def test_logistic_head_is_a_difference_of_sigmoids(
    location: float, log_scale: float, num_states: int
) -> None:
    edges = torch.linspace(-1, 1, num_states + 1, dtype=torch.float64)
    edges[0], edges[-1] = -float("inf"), float("inf")
    m, log_s = torch.tensor([location, log_scale], dtype=torch.float64)
    exact = ((edges - m) / log_s.exp()).sigmoid().diff()
    logits = logistic_logits(m, log_s, num_states)
    torch.testing.assert_close(logits.exp(), exact, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", ["scud", "classical", "masking"])
def test_compiles_without_graph_breaks_in_bfloat16(kind: str) -> None:
    """The network, evidence and all, is one graph; the loss is float32 and the same as without compiling."""
    model, network = (
        models()[kind],
        awake(UNet(B, DIMS, width=16, blocks=1, levels=1, head="mixed")),
    )
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    x0 = torch.randint(B, (3, *DIMS), generator=torch.Generator().manual_seed(1))
    losses = []
    for denoiser in (network, compiled):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(denoiser, x0, generator=torch.Generator().manual_seed(2))
        loss.backward()
        losses.append(loss.detach())
        assert all(
            p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters()
        )
    assert losses[0].dtype == torch.float32
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=0)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["scud", "classical", "masking"])
def test_bfloat16_hardly_changes_the_loss(kind: str, head: str) -> None:
    """Within 5%, under autocast and with weights of bfloat16; the diffusion itself stays in float32."""
    model, network = models()[kind], awake(UNet(B, DIMS, width=16, blocks=1, levels=2, head=head))
    x0 = torch.randint(B, (6, *DIMS), generator=torch.Generator().manual_seed(1))

    def loss(denoiser: torch.nn.Module) -> torch.Tensor:
        return model.loss(denoiser, x0, generator=torch.Generator().manual_seed(2)).detach()

    exact = loss(network)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(network)
    halved = loss(network.to(torch.bfloat16))
    assert mixed.dtype == halved.dtype == torch.float32
    torch.testing.assert_close(torch.stack([mixed, halved]), exact.expand(2), rtol=5e-2, atol=0)


def test_skips_are_read_in_reverse_order() -> None:
    """The last features made on the way down are the first that are read on the way up."""
    network = UNet(B, (1, 8, 8), width=8, blocks=3, levels=2)
    made, read = [], []
    for stage in network.down:
        for block in stage:
            block.register_forward_hook(lambda _, __, output: made.append(output))
    for stage in network.up:
        for block in stage:
            block.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    model = Masking(B, p0=flat(B))
    model.loss(network, torch.zeros(2, 1, 8, 8, dtype=torch.long))
    assert len(made) == len(read) == 6
    for features, inputs in zip(reversed(made), read, strict=True):
        torch.testing.assert_close(inputs[:, -features.shape[1] :], features)


def test_the_papers_network() -> None:
    """32 residual blocks of 128 channels down and up at full resolution, two around one attention block; 27 M parameters."""
    with torch.device("meta"):
        network = UNet(256, (3, 32, 32), dropout=0.1, head="logistic", **PRESETS["paper"])
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    assert [len(stage) for stage in network.down] == [len(stage) for stage in network.up] == [32]
    assert len(blocks) == 66
    assert all(block.conv_out.out_channels == 128 and block.dropout.p == 0.1 for block in blocks)
    assert sum(isinstance(module, Attention) for module in network.modules()) == 1
    assert 26e6 < sum(parameter.numel() for parameter in network.parameters()) < 28e6


def test_spec_builds_the_same_network() -> None:
    network = UNet(B, DIMS, width=16, blocks=1, levels=2, dropout=0.1, head="logistic")
    spec = network.spec()
    again = NETWORKS[spec.pop("kind")].network(**spec)
    again.load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, "width must be a positive multiple of 8"),
        ({"levels": 4}, "levels must halve height and width evenly"),
        ({"blocks": 0}, "blocks and levels must be at least 1"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"head": "gaussian"}, "head must be one of categorical, logistic, mixed"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        UNet(B, DIMS, **options)
