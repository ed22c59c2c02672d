"""What the front door is given, checked: what is trained, examples to evaluate, and what to draw."""

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scud.data import Examples
from scud.diffusion import Diffusion
from scud.errors import UserError, as_signed, check_count, check_states, fail
from scud.networks.labels import reads_labels
from scud.numerics.memory import check_memory
from scud.runs import Run
from scud.typing import ExampleSet, Given, Shape

Trained = Run | tuple[Diffusion, nn.Module]
"""A run, or a model and its network."""


def parts_of(trained: Trained) -> tuple[Diffusion, nn.Module]:
    """The model and the network of a run, or of a pair of them."""
    if isinstance(trained, Run):
        return trained.model, trained.network
    if isinstance(trained, tuple) and len(trained) == 2:
        if not isinstance(trained[0], Diffusion):
            found = f"({', '.join(type(part).__name__ for part in trained)})"
            rule = "be a diffusion and its network, in this order"
            raise fail("the pair (model, network)", rule, found, "give (model, network)")
        if not callable(trained[1]) or isinstance(trained[1], Diffusion | type):
            kind = getattr(trained[1], "__name__", type(trained[1]).__name__)
            raise TypeError(f"network must be a network, got {kind}; give (model, network)")
        return trained
    raise UserError(
        f"give a run, or a pair (model, network), got {type(trained).__name__}; scud.load(folder) gives a run"
    )


def checked_examples(
    trained: Trained, model: Diffusion, examples: ExampleSet | Tensor
) -> ExampleSet:
    """What `evaluate` was given as examples, checked against what is trained."""
    if isinstance(examples, Tensor):
        if examples.ndim < 2:
            remedy = "give one row for each example"
            raise fail("examples", "be states [N, *dims]", list(examples.shape), remedy)
        if len(examples) > 0:
            check_states("examples", examples, model.num_states)
        examples = Examples(as_signed("examples", examples))
    elif not all(hasattr(examples, name) for name in ("__len__", "batch", "batches")):
        kind = type(examples).__name__
        rule = 'a split of data, such as data.split("test"), or a tensor of states'
        remedy = "convert with torch.as_tensor"
        raise TypeError(f"examples must be {rule}, got {kind}; {remedy}")
    if isinstance(examples, Examples):
        _check_dims("examples", tuple(examples.x.shape), trained)
    return examples


def checked_shape(trained: Trained, shape: Any) -> Shape:
    """What `sample` was asked for as (batch, *dims)."""
    if isinstance(shape, int | np.integer):
        check_count("shape", int(shape), 1, "say how many examples to draw")
        dims = trained.modality.dims if isinstance(trained, Run) else None
        if dims is None:
            remedy = "give (batch, *dims); run.sample(num) draws examples of different length"
            raise fail("shape", "be (batch, *dims) where examples differ in shape", shape, remedy)
        shape = (int(shape), *dims)
    remedy = "give (batch, *dims), or the number of examples"
    if not isinstance(shape, tuple | list):
        kind = type(shape).__name__
        raise TypeError(f"shape must be a tuple of whole numbers, got {kind}; {remedy}")
    if len(shape) < 2:
        raise fail("shape", "be (batch, *dims)", list(shape), remedy)
    sizes = [int(size) if isinstance(size, np.integer) else size for size in shape]
    for size in sizes:
        check_count("shape", size, 1, remedy)
    check_memory("shape", 8 * prod(sizes), sizes, "draw fewer at once, by several calls")
    _check_dims("shape", tuple(sizes), trained)
    return tuple(sizes)


def check_kinds(given: Any, sampler: Any, generator: Any) -> None:
    """Raise `TypeError` for arguments of `sample` that are something else."""
    if given is not None and not isinstance(given, Given):
        kind = type(given).__name__
        remedy = "write it as scud.typing.Given(x0, known), or Given(label=labels)"
        raise TypeError(f"given must be a Given, got {kind}; {remedy}")
    for name in () if given is None else ("x0", "known", "mask", "label"):
        part = getattr(given, name)
        if part is not None and not isinstance(part, Tensor):
            kind = type(part).__name__
            raise TypeError(
                f"given.{name} must be a tensor, got {kind}; convert with torch.as_tensor"
            )
    if sampler is not None and (isinstance(sampler, type) or not callable(sampler)):
        remedy = "give one such as Ancestral(steps=64)"
        raise TypeError(f"sampler must be a sampler, got {sampler!r}; {remedy}")
    if generator is not None and not isinstance(generator, torch.Generator):
        remedy = "write torch.Generator().manual_seed(0)"
        raise TypeError(f"generator must be a torch.Generator, got {generator!r}; {remedy}")


def check_labels(given: Given | None, network: Any) -> None:
    """Raise `UserError` for labels given to a network that reads none."""
    if given is not None and given.label is not None and not reads_labels(network):
        what = f"labels of shape {list(given.label.shape)}"
        remedy = "leave it out; a network reads labels where its attribute num_labels is above 0"
        raise fail("given.label", "be left out for a network that reads no labels", what, remedy)


def _check_dims(argument: str, shape: Shape, trained: Trained) -> None:
    """Raise `UserError` unless a run models examples of a shape (number, *dims)."""
    if not isinstance(trained, Run):
        return
    dims, rows = trained.modality.dims, trained.modality.rows
    given = shape[1:]
    if rows:
        most = None if dims is None else dims[0]
        fits = len(given) == 1 and (most is None or given[0] <= most)
        whole = "(number, length)" + ("" if most is None else f" with a length up to {most}")
    else:
        fits = dims is None or given == dims
        whole = f"(number, {', '.join(str(size) for size in dims or ())})"
    if not fits:
        rule = f"have the shape {whole} of a run on {trained.modality.noun}"
        raise fail(argument, rule, list(shape), "give that shape")
