"""Divergences of posteriors that keep their digits, with a gradient made in the same passes."""

import torch
from torch import Tensor


def posterior_divergence(
    predicted: Tensor, true: Tensor, weight: Tensor, at: Tensor | None = None
) -> Tensor:
    """Σ_y [q_y - p_y + p_y log(p_y / q_y)] in nats for p = weight true / N(true) and q = weight predicted / N(predicted): [n].

    N(v) = Σ_y weight_y v_y makes posteriors of the two, and the sum is KL(p || q). N(v) = v[at] makes rates of them, and the sum
    is the integrand of the classical bound. It is summed as p (ratio - 1 - log ratio), which is never negative and keeps its
    relative accuracy when the two are close; where p is 0 the term is q. Differentiable once, in `predicted`.

    Args:
        predicted: [n, B], positive where weight true is.
        true: [n, B] >= 0.
        weight: [n, B] >= 0.
        at: state [n] whose entry is the normaliser, or None for the sum.
    """
    return _PosteriorDivergence.apply(predicted, true, weight, at)  # type: ignore[no-any-return, no-untyped-call]


class _PosteriorDivergence(torch.autograd.Function):
    """The gradient is (weight / N) (1 - 1 / ratio), plus (Σ p - Σ q) / N at the state `at`; the values' passes make it too.

    `held` is 1 where `true` is positive and 0 where it is 0 (in between where it is below any float worth the name): a factor
    instead of a mask, which would cost more than all the arithmetic.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        predicted: Tensor,
        true: Tensor,
        weight: Tensor,
        at: Tensor | None,
    ) -> Tensor:
        floor, most = torch.finfo(true.dtype).tiny * 1e6, torch.finfo(true.dtype).max
        p, q = weight * true, weight * predicted
        if at is None:
            true_total, total = p.sum(-1, keepdim=True), q.sum(-1, keepdim=True)
        else:
            true_total, total = (
                true.gather(-1, at.unsqueeze(-1)),
                predicted.gather(-1, at.unsqueeze(-1)),
            )
        # Where no state that was has weight there is nothing to compare: the value, which is not used, is finite.
        true_total = torch.where(true_total > 0, true_total, total)
        held = (true / floor).clamp_max_(1)
        ratio = predicted.div(true.clamp_min(floor)).mul_(true_total / total).clamp_max_(most)
        excess = (ratio - 1).sub_(ratio.log()).mul_(p).sum(-1, keepdim=True) / true_total
        unheld = q.addcmul_(q, held, value=-1).sum(-1, keepdim=True)
        values = excess.addcdiv_(unheld, total)
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            gradient = torch.addcmul(weight, weight, held.div_(ratio), value=-1).div_(total)
            if at is not None:
                surplus = (
                    p.sum(-1, keepdim=True) / true_total
                    - (weight * predicted).sum(-1, keepdim=True) / total
                )
                gradient.scatter_add_(-1, at.unsqueeze(-1), surplus / total)
            ctx.save_for_backward(gradient)
        return values.squeeze(-1)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *upstream: Tensor
    ) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * upstream[0].unsqueeze(-1), None, None, None
