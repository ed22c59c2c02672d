"""How many operations a step starts, and how often the host waits for the device: what a GPU minds more than arithmetic.

Kernels are counted by PyTorch's profiler; on a CPU the operations that would start one. Waits are the warnings of
`torch.cuda.set_sync_debug_mode`; a CPU has none.
"""

import itertools
import warnings
from collections.abc import Iterator

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import cases, steps
from benchmarks.cases import Scale
from benchmarks.report import Row
from benchmarks.timing import Work
from scud.typing import Batch

COPIES = ("Memcpy", "Memset")


def counted(work: Work, device: torch.device) -> tuple[int, int]:
    """Kernels that one run of `work` starts, and how often the host waits; after one run to warm up."""
    work()
    on_gpu = device.type == "cuda"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if on_gpu:
            torch.cuda.synchronize(device)
            torch.cuda.set_sync_debug_mode("warn")
        try:
            kind = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
            with profile(activities=[kind]) as profiled:
                work()
                if on_gpu:
                    torch.cuda.set_sync_debug_mode("default")
                    torch.cuda.synchronize(device)
        finally:
            if on_gpu:
                torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchroniz" in str(warning.message) for warning in told)
    return sum(_is_kernel(event, on_gpu) for event in profiled.events()), waits


def _is_kernel(event: torch.autograd.profiler_util.FunctionEvent, on_gpu: bool) -> bool:
    """Whether an event of the profiler is a kernel; on a CPU, an operation that is no part of another."""
    if on_gpu:
        return event.device_type == DeviceType.CUDA and not event.name.startswith(COPIES)
    return event.name.startswith("aten::") and event.cpu_parent is None


def starts_rows(scale: Scale, device: torch.device, *, bfloat16: bool = False) -> Iterator[Row]:
    """A row for every number of states and model: a training step and a sampling step, over the network alone."""
    for num_states, name in itertools.product(scale.states, cases.MODELS):
        model = cases.model(name, num_states).to(device)
        network = cases.network(scale.size, num_states, scale.shape[1:])
        prepared = steps.prepare(network, device, bfloat16, compiled=False)
        x0 = cases.images(model.p0, scale.shape).to(device)
        training = steps.TrainingStep(model, prepared.train(), Batch(x0))
        alone, _ = counted(training.alone, device)
        whole, waits = counted(training.full, device)
        sampling = steps.SamplingStep(model, prepared.eval(), x0, scale.steps, 1)
        call, _ = counted(sampling.alone, device)
        step, waits_of_step = counted(sampling.full, device)
        yield {
            "model": name,
            "B": num_states,
            "training, network alone": alone,
            "training step": whole,
            "waits": waits,
            "sampling, network alone": call,
            "sampling step": step,
            "its waits": waits_of_step,
        }


def starts_text(scale: Scale) -> str:
    """What stands above the table."""
    batch = " x ".join(map(str, scale.shape))
    return f"Kernels started, and waits of the host: U-Net {scale.size}, batch {batch}."
