"""What a GPU refuses: the same errors as of a real one, where the pretended one would not notice."""

import torch
from torch import Tensor
from torch._C import Generator

from tests.pretended.calls import INDEXING, ONTO, Call, on_gpu

NUMBERS_FROM_THE_CPU = ONTO | INDEXING | {"fill", "fill_", "_foreach_mul_", "_foreach_mul"}
"""Operations beside the point-wise ones that take a tensor of one number from the CPU."""

PRODUCTS = frozenset({"mm", "bmm", "addmm", "addmv", "baddbmm", "mv", "dot", "addbmm", "vdot"})
"""Products of matrices, which a GPU has for floating-point numbers alone."""


def check(call: Call) -> None:
    """Raise what a GPU would raise."""
    check_generators(call)
    if not call.there:
        return
    check_indices(call)
    check_devices(call)
    check_written(call)
    check_numbers(call)


def check_devices(call: Call) -> None:
    """Tensors of two devices do not meet; where an operation is point-wise, one number of the CPU may."""
    if call.name in ONTO:
        return
    lenient = call.name in NUMBERS_FROM_THE_CPU or torch.Tag.pointwise in call.function.tags
    indices = {id(index) for index in call.indices}
    for tensor in call.here:
        if id(tensor) not in indices and (tensor.dim() > 0 or not lenient):
            shape = list(tensor.shape)
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices: "
                f"{call.name} got a tensor of the CPU of shape {shape} beside one of the GPU"
            )


def check_indices(call: Call) -> None:
    """A tensor on the CPU is not indexed by one on the GPU (the other way is a copy)."""
    if call.indices and not on_gpu(call.arguments[0]) and any(map(on_gpu, call.indices)):
        raise RuntimeError("indices should be either on cpu or on the same device as the tensor")


def check_written(call: Call) -> None:
    """What is computed on the GPU is not written into a tensor of the CPU."""
    if call.name not in ONTO and not all(map(on_gpu, call.written)):
        raise RuntimeError(f"{call.name} would write from the GPU into a tensor of the CPU")


def check_numbers(call: Call) -> None:
    """Matrices of whole numbers are not multiplied."""
    first = call.there[0]
    if call.name in PRODUCTS and not (first.is_floating_point() or first.is_complex()):
        raise RuntimeError(f'"{call.name}_cuda" not implemented for {first.dtype}')


def check_generators(call: Call) -> None:
    """Numbers are drawn by a generator of the device that they are for."""
    for part in call.leaves:
        if isinstance(part, Generator) and on_gpu_generator(part) != call.answers_there:
            wanted, got = ("the GPU", "the CPU") if call.answers_there else ("the CPU", "the GPU")
            raise RuntimeError(f"Expected a generator of {wanted} in {call.name}, got one of {got}")


_GENERATORS: set[int] = set()
"""Of which generators numbers are for the GPU, by where they lie in memory."""


def on_gpu_generator(generator: Generator) -> bool:
    """Whether a generator was made for the pretended GPU."""
    return generator._cdata in _GENERATORS


def remember(generator: Generator, there: bool) -> None:
    """Note for which device a new generator is."""
    (_GENERATORS.add if there else _GENERATORS.discard)(generator._cdata)


def refuse_numpy(tensor: Tensor) -> TypeError:
    """What is raised where numpy is asked for a tensor on the GPU."""
    shape = list(tensor.shape)
    return TypeError(
        f"can't convert a tensor of shape {shape} on the GPU to numpy: use Tensor.cpu()"
    )
