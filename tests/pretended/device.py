"""A pretended GPU on a machine that has none.

Tensors on it say that they are elsewhere and compute on the CPU. What a GPU refuses they refuse (`rules`), and what costs time
there and nothing here is counted (`counting`):

    with pretended_gpu() as gpu, count() as counts:
        model.to(gpu).loss(network.to(gpu), x0.to(gpu), generator=torch.Generator(gpu)).backward()
    assert counts.waits == 0, counts

PyTorch is told of the device for good, and before the first backward pass: `tests.pretended.process` therefore does all this in
a process of its own. It relies on backends written in Python, which PyTorch has since 2.9.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from tests.pretended import rules
from tests.pretended.calls import NAME, Call, is_there, mapped
from tests.pretended.counting import counted, waited

CPU = torch.device("cpu")
CPU_OPTIONS = {"device": CPU, "pin_memory": False, "non_blocking": False}
"""Options of an operation that are of its device, as they are on the CPU."""


class Backend:
    """What PyTorch asks of the module of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float32, torch.bfloat16, torch.float16]

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def synchronize(self, device: object = None) -> None:  # noqa: ARG002
        waited("synchronize")

    def manual_seed_all(self, seed: int) -> None:
        """Nothing is drawn without a generator."""

    def get_rng_state(self, device: object = None) -> Tensor:  # noqa: ARG002
        return torch.zeros(8, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        """Nothing is drawn without a generator."""


@cache
def registered() -> tuple[torch.device, torch.library.Library]:
    """The device, made known to PyTorch once for all, and what must live as long as it does.

    Autocast casts nothing there: operations go past it.
    """
    _setup_privateuseone_for_python_backend(NAME, Backend())
    autocast = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    autocast.fallback(torch.library.fallthrough_kernel)
    return torch.device(NAME, 0), autocast


class OnGpu(Tensor):
    """A tensor on the pretended GPU, whose numbers are in `numbers`, on the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> "OnGpu":
        made = Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            layout=numbers.layout,
            device=registered()[0],
        )
        made.numbers = numbers
        return made  # type: ignore[no-any-return]

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]
        waited("repr")
        return f"OnGpu({self.numbers!r})"

    def tolist(self) -> Any:
        waited("tolist")
        return self.numbers.tolist()

    def numpy(self, *arguments: Any, **options: Any) -> NoReturn:  # noqa: ARG002
        raise rules.refuse_numpy(self)

    __array__ = __dlpack__ = numpy

    @classmethod
    def __torch_dispatch__(
        cls,
        function: OpOverload,
        types: Sequence[type],
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        return run(Call(function, arguments, options or {}))


class Everywhere(TorchDispatchMode):
    """Sees what has no tensor of the GPU among its arguments too: tensors that are made there, or sent there."""

    def __torch_dispatch__(
        self,
        function: OpOverload,
        types: Sequence[type],
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        return run(Call(function, arguments, options or {}))


def run(call: Call) -> Any:
    """Check, count and compute an operation."""
    rules.check(call)
    if not call.computes_there:
        return call.function(*call.arguments, **call.options)
    counted(call)
    result = compute(call)
    if torch.Tag.inplace_view in call.function.tags:
        with no_dispatch():  # the shape that the tensor says it has
            call.function(*call.arguments, **call.options)
        return call.arguments[0]
    return mapped(wrapper(call), result)


def compute(call: Call) -> Any:
    """The result of an operation, on the CPU."""
    arguments = mapped(numbers_of, call.arguments)
    options = {name: mapped(numbers_of, value) for name, value in call.options.items()}
    options |= {name: CPU_OPTIONS[name] for name in CPU_OPTIONS.keys() & options.keys()}
    if call.name in ("_to_copy", "copy_"):
        options.pop("non_blocking", None)
    return call.function(*arguments, **options)


def numbers_of(part: Any) -> Any:
    """An argument as the CPU gets it."""
    if isinstance(part, OnGpu):
        return part.numbers
    return CPU if isinstance(part, torch.device) else part


def wrapper(call: Call) -> Callable[[Any], Any]:
    """What a result is for whoever asked: the very tensor that was written to, or one on the device of the call."""
    asked = {id(numbers_of(tensor)): tensor for tensor in (*call.there, *call.here)}

    def wrap(part: Any) -> Any:
        if not isinstance(part, Tensor) or isinstance(part, OnGpu):
            return part
        if id(part) in asked:
            return asked[id(part)]
        return OnGpu(part) if call.answers_there else part

    return wrap


PlainGenerator = torch.Generator
_MADE: list[torch.Generator] = []


class Generator(PlainGenerator):
    """`torch.Generator`, which may be of the pretended GPU: the numbers are those of the CPU."""

    def __new__(cls, device: torch.device | str = "cpu") -> "Generator":
        made = super().__new__(cls)
        rules.remember(made, is_there(device))
        _MADE.append(made)  # none is made in the place of one that is remembered
        return made

    @property
    def device(self) -> torch.device:
        return registered()[0] if rules.on_gpu_generator(self) else CPU


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """Where tensors may be moved to the device that it yields."""
    lifted = torch._C._only_lift_cpu_tensors()
    gpu, _ = registered()
    torch.Generator = Generator  # type: ignore[misc]
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor` makes its tensor here and sends it
    try:
        with Everywhere():
            yield gpu
    finally:
        torch.Generator = PlainGenerator  # type: ignore[misc]
        torch._C._set_only_lift_cpu_tensors(lifted)
