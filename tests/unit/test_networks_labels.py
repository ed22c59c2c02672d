"""Networks read the labels they are built for, in any number, and refuse those they are not."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from scud import Masking
from scud.errors import UserError
from scud.networks import ByteNet, DiT, UNet, reads_labels
from scud.networks.labels import LabelEmbedding
from scud.typing import Batch, Conditioning, Given
from tests.unit.test_networks import awake
from tests.unit.test_networks_format import CASES, logits, new, noised

NONE = torch.full((3,), -1)


def labelled(kind: str, label: torch.Tensor | None) -> tuple[torch.Tensor, Conditioning]:
    """The noised examples of a case, with labels."""
    x_t, given = noised(kind)
    return x_t, Conditioning(given.t, given.s, given.mask, label, given.evidence)


def embedding(num_labels: int = 4, width: int = 6) -> LabelEmbedding:
    made = LabelEmbedding(num_labels, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in made.parameters():
            nn.init.normal_(parameter)
    return made


@torch.no_grad()
def test_labels_are_summed_and_none_has_its_own_embedding() -> None:
    embed = embedding()
    weight, null = embed.weight, embed.null
    one, expected = torch.tensor([2, -1, 0]), torch.stack([weight[2], null, weight[0]])
    torch.testing.assert_close(embed(one, 3), expected)
    several = torch.tensor([[1, 3, -1], [-1, -1, -1], [-1, 0, -1]])
    expected = torch.stack([weight[1] + weight[3], null, weight[0]])
    torch.testing.assert_close(embed(several, 3), expected)
    torch.testing.assert_close(embed(None, 3), null.expand(3, -1))


def test_gradients_reach_the_embeddings_that_are_read_and_no_others() -> None:
    embed = embedding()
    embed(torch.tensor([[1, 2], [1, -1]]), 2).sum().backward()
    assert embed.weight.grad is not None
    assert embed.weight.grad[:, 0].tolist() == [0, 2, 1, 0]
    assert embed.null.grad is not None
    assert embed.null.grad.tolist() == [0] * 6


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (torch.tensor([0, 1, 4]), r"label must lie in 0\.\.3, or be -1 for no label, got 4"),
        (torch.tensor([0, -2, 1]), "got -2"),
        (
            torch.tensor([0, 1]),
            r"label must hold whole numbers of shape \[3\] or \[3, most\], got torch.int64 \[2\]",
        ),
        (torch.zeros(3, 2, 2, dtype=torch.long), r"got torch.int64 \[3, 2, 2\]"),
        (torch.zeros(3), r"got torch.float32 \[3\]"),
    ],
)
def test_wrong_labels(label: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        embedding()(label, 3)


@pytest.mark.parametrize("wrong", [4, -2])
def test_wrong_labels_fail_where_nothing_looks_at_them(
    wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator, where the lookup itself has to refuse them."""
    monkeypatch.setattr(LabelEmbedding, "check", lambda *_: None)
    with pytest.raises(IndexError):
        embedding()(torch.tensor([0, wrong, 1]), 3)


def test_a_negative_number_of_labels() -> None:
    with pytest.raises(UserError, match="num_labels must be at least 0, got -1"):
        ByteNet(5, num_labels=-1)


@pytest.mark.parametrize("kind", CASES)
@torch.no_grad()
def test_a_new_network_predicts_the_same_for_every_label(kind: str) -> None:
    """As without labels; and so does one that has learnt, where no label is given."""
    plain, network = new(kind).eval(), new(kind, num_labels=3).eval()
    for label in (None, NONE, torch.tensor([0, 1, 2])):
        expected = logits(plain, *labelled(kind, None))
        assert logits(network, *labelled(kind, label)).equal(expected)
    awake(plain)
    network.load_state_dict(plain.state_dict(), strict=False)
    for label in (None, NONE):
        expected = logits(plain, *labelled(kind, None))
        assert logits(network, *labelled(kind, label)).equal(expected)
    told = logits(network, *labelled(kind, torch.tensor([0, 1, 2])))
    assert not told.isclose(expected).all()


@pytest.mark.parametrize("kind", CASES)
@torch.no_grad()
def test_a_label_changes_its_own_example_at_every_position(kind: str) -> None:
    network = awake(new(kind, num_labels=3))
    reference = logits(network, *labelled(kind, NONE))
    assert logits(network, *labelled(kind, None)).equal(reference)
    first = logits(network, *labelled(kind, torch.tensor([2, -1, -1])))
    changed = (first - reference).abs().amax(-1)
    assert not changed[1:].any()
    assert float(changed[0].min()) > 1e-5
    two = logits(network, *labelled(kind, torch.tensor([[2, 0], [-1, 2], [-1, -1]])))
    one = logits(network, *labelled(kind, torch.tensor([2, 2, -1])))
    assert two[1:].equal(one[1:])
    assert not two[0].equal(one[0])


@pytest.mark.parametrize("kind", CASES)
def test_every_embedding_learns(kind: str) -> None:
    network = awake(new(kind, num_labels=3))
    network(*labelled(kind, torch.tensor([0, 2, -1]))).logsumexp(-1).sum().backward()
    assert network.labels.weight.grad.abs().amax(1).gt(0).tolist() == [True, False, True]
    assert float(network.labels.null.grad.abs().max()) > 0


@pytest.mark.parametrize("kind", CASES)
def test_labels_for_a_network_without_any_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match=r"built without labels.*--network\.labels true"):
        new(kind)(*labelled(kind, torch.tensor([0, 1, 2])))


@pytest.mark.parametrize("kind", CASES)
def test_labels_compile_without_graph_breaks(kind: str) -> None:
    network = awake(new(kind, num_labels=3))
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    x_t, given = labelled(kind, torch.tensor([0, 2, -1]))
    torch.testing.assert_close(compiled(x_t, given), network(x_t, given))


class Wrapper(nn.Module):
    """As distributed training wraps a network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_which_networks_read_labels() -> None:
    plain, labelled = new("bytenet"), new("bytenet", num_labels=2)
    for network, expected in ((plain, False), (labelled, True)):
        compiled = torch.compile(network, backend="eager")
        for wrapped in (network, compiled, Wrapper(network), Wrapper(compiled)):
            assert reads_labels(wrapped) is expected
    assert not reads_labels(nn.Linear(2, 2))
    assert not reads_labels(torch.zeros_like)


SMALL: dict[type[nn.Module], dict[str, Any]] = {
    UNet: {"dims": (1, 2, 2), "width": 16, "blocks": 1, "levels": 1},
    ByteNet: {"width": 32, "layers": 2},
    DiT: {"width": 32, "layers": 2, "heads": 2},
}


@pytest.mark.parametrize("build", SMALL)
def test_it_learns_what_is_likely_given_a_label(build: type[nn.Module]) -> None:
    """Four positions, independent given the label, each with its own law p(x | label).

    All is masked, so that the label is all there is to go by: the prediction is the law itself, and
    without a label the mean of the laws. After 50 steps it is within 0.15 of both; the laws differ
    from their mean by 0.35.
    """
    generator = torch.Generator().manual_seed(0)
    laws = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    model = Masking(3, p0=laws.double().mean(0))
    dims = (1, 2, 2) if build is UNet else (4,)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(3, num_labels=2, dropout=0.0, **SMALL[build])
    optimiser = torch.optim.Adam(network.parameters())
    for step in range(50):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * (1 + math.cos(math.pi * step / 50))
        label = torch.randint(2, (256,), generator=generator)
        x0 = torch.multinomial(laws[label], 4, True, generator=generator).reshape(-1, *dims)
        told = label.masked_fill(torch.rand(256, generator=generator) < 0.3, -1)
        loss = model.loss(network, Batch(x0, label=told), generator=generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    noisy = model.noise(torch.zeros(3, *dims, dtype=torch.long), torch.ones(3).double(), generator)
    label, expected = torch.tensor([0, 1, -1]), torch.stack([*laws, laws.mean(0)])
    learnt = logits(network.eval(), noisy.x_t, model.condition(noisy, Given(label=label))).softmax(
        -1
    )
    error = learnt.reshape(3, 4, 3) - expected.unsqueeze(1)
    assert float(error.abs().max()) < 0.15
