"""The DiT reads all it is given, at every position, by relative place, and nothing of padding or of other sequences."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from scud import Masking, Noisy
from scud.errors import UserError
from scud.networks import NETWORKS, DiT
from scud.networks.dit import LARGE_OUTPUT, PRESETS, Block, places, rotate, rotations
from scud.numerics.logits import LinearLogits
from scud.typing import Batch, Conditioning, Given
from tests.unit.test_networks import awake
from tests.unit.test_networks_bytenet import B, models, sequences

KINDS = ["scud", "classical", "masking"]
MANY = LARGE_OUTPUT + 1


def network(num_states: int = B, **options: object) -> DiT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return awake(
            DiT(num_states, **{"width": 16, "layers": 2, "heads": 2, "dropout": 0.0, **options})
        )


def masking(num_states: int) -> Masking:
    p0 = torch.arange(1, num_states + 1, dtype=torch.float64)
    return Masking(num_states, p0=p0 / p0.sum())


def half_masked(num_states: int) -> tuple[torch.Tensor, Conditioning]:
    """A noised batch [3, 8] and its conditioning."""
    model, generator = masking(num_states), torch.Generator().manual_seed(0)
    x0 = torch.randint(num_states, (3, 8), generator=generator)
    noisy = model.noise(x0, torch.full((3,), 0.5, dtype=torch.float64), generator)
    return noisy.x_t, model.condition(noisy)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: str) -> None:
    net = network()
    x0, mask = sequences(9, 30, 17)
    models()[kind].loss(net, Batch(x0, mask), generator=torch.Generator().manual_seed(2)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().max()) > 0, name


@given(
    length=st.integers(1, 40),
    before=st.integers(0, 50),
    after=st.integers(0, 50),
    others=st.lists(st.integers(1, 60), max_size=3),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_padding_neighbours_in_the_batch_and_a_shift_change_nothing(
    length: int, before: int, after: int, others: list[int], seed: int
) -> None:
    """The same sequence gives the same logits wherever it stands, whatever is around it, whatever else is in the batch."""
    net, generator = network().double(), torch.Generator().manual_seed(seed)
    lengths = [length, *others, 0]
    x0, mask = sequences(*lengths, seed=seed)
    x0 = F.pad(x0, (before, after), value=seed % B)
    mask = F.pad(mask, (before, after))
    here = slice(before, before + length)
    for model in models().values():
        noisy = model.noise(x0, torch.full((len(lengths),), 0.4, dtype=torch.float64), generator)
        batched = net(noisy.x_t, model.condition(noisy, Given(mask=mask)))
        assert bool(batched.isfinite().all()), "also in the row that is padding alone"
        alone = Noisy(
            noisy.x_t[:1, here], noisy.t[:1], None if noisy.s is None else noisy.s[:1, here]
        )
        for real in (None, mask[:1, here]):
            logits = net(alone.x_t, model.condition(alone, Given(mask=real)))
            torch.testing.assert_close(logits[0], batched[0, here], rtol=1e-5, atol=1e-5)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 1000), st.sampled_from([2, 6, 64]))
@settings(max_examples=30, deadline=None)
def test_products_of_rotated_vectors_depend_on_the_distance_alone(
    n: int, m: int, shift: int, width: int
) -> None:
    q, k = torch.randn(2, width, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    length = max(n, m) + shift + 1
    turns = rotations(places(length, q), width)
    queries, keys = (rotate(x.expand(length, width), turns) for x in (q, k))
    torch.testing.assert_close(queries[n] @ keys[m], queries[n + shift] @ keys[m + shift])
    torch.testing.assert_close(queries.square().sum(-1), q.square().sum().expand(length))
    torch.testing.assert_close(queries[0], q)


def test_far_places_are_told_apart_in_bfloat16() -> None:
    x = torch.ones(1025, 64, dtype=torch.bfloat16)
    turned, exact = (rotate(y, rotations(places(len(y), y), 64)) for y in (x, x.double()))
    assert turned.dtype == torch.bfloat16
    assert float((turned - exact).abs().max()) < 0.01


@pytest.mark.parametrize(("width", "heads"), [(128, 4), (192, 3), (768, 12)])
@torch.no_grad()
def test_heads_look_at_their_neighbours_at_first(width: int, heads: int) -> None:
    """Each at another place, most of all there, and by more the further others are, as far as words reach."""
    query, key, _ = (
        Block(width, heads, 0.0).qkv.bias.unflatten(0, (3, heads, 1, -1)).expand(-1, -1, 41, -1)
    )
    turns = rotations(places(41, query), width // heads)
    scores = (rotate(query, turns) @ rotate(key, turns).mT)[:, 20] / (width / heads) ** 0.5
    offsets = [1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6][:heads]
    assert (scores.argmax(-1) - 20).tolist() == offsets
    for offset, score in zip(offsets, scores, strict=True):
        peak = 20 + offset
        assert float(score[peak] - score[[peak - 1, peak + 1]].max()) > 0.5
        assert bool((score[peak : peak + 4].diff() < 0).all())
        assert bool((score[peak - 3 : peak + 1].diff() > 0).all())


@torch.no_grad()
def test_places_matter() -> None:
    """To swap the states at two positions changes what is expected at a third."""
    net, model = network(), models()["scud"]
    x_t = torch.arange(12).unsqueeze(0)
    swapped = x_t.clone()
    swapped[0, [3, 4]] = x_t[0, [4, 3]]
    t, s = torch.full((1,), 0.5, dtype=torch.float64), torch.ones_like(x_t)
    one, other = (net(x, model.condition(Noisy(x, t, s))) for x in (x_t, swapped))
    assert float((one - other)[0, 9].abs().max()) > 1e-4


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
    assert float(moved[12]) > 1e-2
    assert float(moved.min()) > 1e-6
    assert int(moved.argmax()) == 12


def test_checkpointing_changes_no_gradient() -> None:
    """In training, with the same dropout; and in evaluation nothing is computed twice."""
    x0, mask = sequences(9, 30, 17)
    gradients, calls = [], []
    for checkpointing in (False, True):
        net = network(dropout=0.2, checkpointing=checkpointing).train()
        net.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
        with torch.random.fork_rng():
            torch.manual_seed(3)
            models()["scud"].loss(
                net, Batch(x0, mask), generator=torch.Generator().manual_seed(2)
            ).backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert len(calls) == 1 + 2
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain, rtol=0, atol=0)
    models()["scud"].loss(net.eval(), Batch(x0, mask)).backward()
    assert len(calls) == 1 + 2 + 1


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_compiles_without_graph_breaks_in_bfloat16(kind: str, checkpointing: bool) -> None:
    """The network, evidence and padding and all, is one graph; losses and gradients are those without compiling."""
    model, net = models()[kind], network(layers=1, checkpointing=checkpointing).train()
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    x0, mask = sequences(9, 30, 17)
    losses, gradients = [], []
    for denoiser in (net, compiled):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(denoiser, Batch(x0, mask), generator=torch.Generator().manual_seed(2))
        loss.backward()
        losses.append(loss.detach())
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert losses[0].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=0)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_hardly_changes_the_loss(kind: str) -> None:
    """Within 5%, under autocast and with weights of bfloat16."""
    model, net = models()[kind], network()
    x0, mask = sequences(9, 30, 17)

    def loss(denoiser: torch.nn.Module) -> torch.Tensor:
        return model.loss(
            denoiser, Batch(x0, mask), generator=torch.Generator().manual_seed(2)
        ).detach()

    exact = loss(net)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(net)
    halved = loss(net.to(torch.bfloat16))
    assert mixed.dtype == halved.dtype == torch.float32
    torch.testing.assert_close(torch.stack([mixed, halved]), exact.expand(2), rtol=5e-2, atol=0)


@torch.no_grad()
def test_float64() -> None:
    x_t, conditioning = half_masked(B)
    net = network()
    single = net(x_t, conditioning)
    double = net.double()(x_t, conditioning)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single, double.float(), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_of_many_states_no_logits_exist_before_they_are_asked_for() -> None:
    """What is returned are the features; their logits are the output layer's, in the precision of autocast."""
    x_t, conditioning = half_masked(MANY)
    net, read = network(MANY), []
    net.out.register_forward_hook(lambda *_: read.append(1))
    logits = net(x_t, conditioning)
    assert isinstance(logits, LinearLogits)
    assert not read
    assert logits.features.shape == (3, 8, 16)
    assert logits.shape == (3, 8, MANY)
    torch.testing.assert_close(logits.dense(), net.out(logits.features))
    with torch.autocast("cpu", torch.bfloat16):
        assert net(x_t, conditioning).dtype == torch.bfloat16
    net.num_states = LARGE_OUTPUT  # the same network, as one of few states would do it
    torch.testing.assert_close(net(x_t, conditioning), logits.dense())


def test_of_many_states_it_compiles_too() -> None:
    x_t, conditioning = half_masked(MANY)
    net = network(MANY, layers=1)
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    logits = compiled(x_t, conditioning)
    assert isinstance(logits, LinearLogits)
    assert logits.weight is net.out.weight
    torch.testing.assert_close(logits.features, net(x_t, conditioning).features)


@pytest.mark.parametrize("num_states", [B, MANY])
@torch.no_grad()
def test_a_new_network_starts_at_p0(num_states: int) -> None:
    """Uniform as it is made, and p0 at every position once it is told p0."""
    x_t, conditioning = half_masked(num_states)
    net, p0 = DiT(num_states, width=16, layers=2, heads=2), masking(num_states).p0

    def probs() -> torch.Tensor:
        logits = net(x_t, conditioning)
        return (logits.dense() if isinstance(logits, LinearLogits) else logits).double().softmax(-1)

    torch.testing.assert_close(probs(), torch.full((3, 8, num_states), 1 / num_states).double())
    net.start_at(p0)
    torch.testing.assert_close(probs(), p0.expand(3, 8, num_states), rtol=1e-5, atol=0)
    with pytest.raises(UserError, match="p0 must be positive"):
        net.start_at(torch.eye(num_states)[0])
    with pytest.raises(UserError, match="p0 must have shape"):
        net.start_at(p0[1:])


def test_it_learns() -> None:
    """Letters in alphabetical order from any start on: all follow from one."""
    num_states, generator = 6, torch.Generator().manual_seed(0)
    model = Masking(num_states, p0=torch.full((num_states,), 1 / num_states, dtype=torch.float64))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DiT(num_states, width=32, layers=2, heads=2, dropout=0.0)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        start = torch.randint(num_states, (32, 1), generator=generator)
        loss = model.loss(net, (start + torch.arange(16)) % num_states, generator=generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[:5]) / 5 > 1.5, "log 6 = 1.79 before anything is learnt"
    assert sum(losses[-10:]) / 10 < 0.5, "log 6 / 16 = 0.11 is the least"


def test_presets_have_the_size_they_say() -> None:
    sizes = {}
    for name, shape in PRESETS.items():
        with torch.device("meta"):
            net = DiT(30_522, **shape)
        outer = sum(parameter.numel() for parameter in (net.embedding, *net.out.parameters()))
        sizes[name] = round(
            sum(parameter.numel() for parameter in net.parameters()) / 1e6 - outer / 1e6
        )
    assert sizes == {"tiny": 1, "small": 11, "medium": 40, "paper": 89}
    assert PRESETS["paper"] == {"width": 768, "layers": 12, "heads": 12}
    assert round(outer / 1e6) == 47


def test_spec_builds_the_same_network() -> None:
    spec = DiT(7, width=24, layers=3, heads=2, dropout=0.1, checkpointing=True).spec()
    again = NETWORKS[spec["kind"]].network(
        **{name: value for name, value in spec.items() if name != "kind"}
    )
    assert again.spec() == spec
    again.load_state_dict(DiT(7, width=24, layers=3, heads=2).state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"width": 32, "heads": 3}, "width must be a multiple of twice the 3 heads, got 32"),
        ({"width": 12, "heads": 4}, "width must be a multiple of twice the 4 heads, got 12"),
        ({"dropout": 1.0}, "dropout must lie in"),
    ],
)
def test_bad_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DiT(7, **options)
