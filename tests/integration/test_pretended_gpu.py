"""On a pretended GPU: everything runs there, says what the CPU says, and the host does not wait.

What a step costs on a GPU besides arithmetic, the kernels that it starts and the host's waits, is bounded here.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pretended import cases, checks, work
from tests.pretended.counting import Counts
from tests.pretended.process import elsewhere


def run_lightning() -> Counts:
    """Lightning takes seconds to load: only the other process does."""
    from tests.pretended.fitting import by_lightning

    return by_lightning()


There = Callable[..., Any]
"""Calls a function in the process that has the pretended GPU."""


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with elsewhere() as call:
        yield call


def test_results_are_those_of_the_cpu(there: There) -> None:
    there(checks.numbers_are_right)


@pytest.mark.parametrize("name", checks.REFUSED)
def test_what_a_gpu_refuses_is_refused(there: There, name: str) -> None:
    reasons = "same device|a generator of|not implemented|numpy|into a tensor of the CPU"
    with pytest.raises((RuntimeError, TypeError), match=reasons):
        there(checks.counts_of, "refused", name)


@pytest.mark.parametrize("name", checks.WAITS)
def test_waits_are_counted(there: There, name: str) -> None:
    assert there(checks.counts_of, "waits", name).waits >= 1


@pytest.mark.parametrize("name", checks.FREE)
def test_what_starts_no_kernel_is_not_counted(there: There, name: str) -> None:
    counts = there(checks.counts_of, "free", name)
    assert (counts.kernels, counts.waits) == (0, 0)


@pytest.mark.parametrize("name", checks.ONE_KERNEL)
def test_kernels_are_counted(there: There, name: str) -> None:
    counts = there(checks.counts_of, "one kernel", name)
    assert (counts.kernels, counts.waits) == (1, 0)


@pytest.mark.parametrize(
    ("model", "network"),
    [*cases.PAIRS, *(pytest.param(*pair, marks=pytest.mark.long) for pair in cases.MORE_PAIRS)],
)
def test_model_and_network_run_there_without_waiting(
    there: There, model: str, network: str
) -> None:
    """Losses, backward passes, bounds, samples and infilling, with labels and padding: the same as on the CPU."""
    for name, counts in there(work.same_as_on_the_cpu, model, network).items():
        if model != cases.GRAPH:  # its walks are as long as the counts that occur
            assert counts.waits == 0, f"{name}: {counts}"


@pytest.mark.parametrize("model", [*cases.MODELS, *cases.OTHER_SCHEDULES])
def test_terms_of_given_noise_are_those_of_the_grouped_path(there: There, model: str) -> None:
    there(work.given_noise, model)


@pytest.mark.parametrize("model", ["masking", "scud"])
def test_logits_that_are_made_where_they_are_asked_for(there: There, model: str) -> None:
    counts = there(work.many_states, model)
    assert counts.waits == 0, counts


@pytest.mark.parametrize("name", cases.VARIANTS)
def test_other_networks_do_not_wait(there: There, name: str) -> None:
    counts = there(work.variant, name)
    assert counts.kernels > 0
    assert counts.waits == 0, counts


@pytest.mark.parametrize(
    ("network", "dropout"), [("unet", 0.0), ("bytenet", 0.0), ("dit", 0.0), ("dit", 0.1)]
)
def test_a_step_of_training_does_not_wait(there: There, network: str, dropout: float) -> None:
    """Loss, backward pass, clipping, AdamW and the average of the weights."""
    counts = there(work.training_steps, network, dropout)
    assert counts.waits == 0, counts


def test_lightning_trains_there(there: There) -> None:
    """A step may read the loss and the norm of the gradient, and nothing else."""
    counts = there(run_lightning)
    assert counts.kernels > 0
    assert counts.waits <= 2, counts


@pytest.mark.parametrize(
    ("model", "infilling"),
    [("masking", False), ("scud blosum62", True), ("classical uniform", False)],
)
def test_evaluation_waits_once_per_batch(there: There, model: str, infilling: bool) -> None:
    counts = there(work.evaluation, model, infilling)
    assert counts.waits <= 6, counts


@pytest.mark.parametrize("model", ["masking", "scud blosum62", "classical uniform"])
def test_scores_wait_once_per_group_of_calls(there: There, model: str) -> None:
    """Variants of one mutation after another: noise is drawn for two sequences, and calls are made for three positions."""
    of_sequences, of_variants = there(work.scores, model)
    assert of_sequences.waits <= 1, of_sequences
    once, for_each_sequence, for_each_position = 9, 3, 2
    assert of_variants.waits <= once + 2 * for_each_sequence + 3 * for_each_position, of_variants


@pytest.mark.parametrize(
    ("kind", "num_states", "batch"),
    [
        ("masking", 256, 16),
        ("scud", 256, 16),
        ("classical", 256, 16),
        ("scud", 64, 4),
        pytest.param("masking", 64, 4, marks=pytest.mark.long),
        pytest.param("classical", 64, 4, marks=pytest.mark.long),
    ],
)
def test_kernels_of_a_step_are_few(there: There, kind: str, num_states: int, batch: int) -> None:
    """Beside those of the network, its evidence included; small pictures start as many as large ones."""
    budget = there(work.budget, kind, num_states, (batch, 3, 4, 4))
    of_loss, of_step = (80, 80) if kind == "masking" else (160, 120)
    assert budget.loss.waits == budget.backward.waits == budget.sampling.waits == 0, budget
    assert budget.loss.kernels <= budget.forward.kernels + of_loss, budget
    assert budget.embed.kernels <= 50, budget
    assert budget.backward.kernels <= budget.network_backward.kernels + 20, budget
    assert budget.sampling.kernels / budget.steps <= budget.forward.kernels + of_step, budget
