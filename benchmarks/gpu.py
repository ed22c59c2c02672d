"""Numbers, speed and training on a GPU, in one call of under ten minutes.

    PYTHONPATH=src python -m benchmarks.gpu --data fashion_mnist.npz --out OUT [--device cuda] [--minutes 3] [--reduced]

It needs PyTorch, numpy and scipy only, and does four things, each within a budget of time:

1. check: every model's bound, its gradient and evidence in float32 on the device against float64 on the CPU, on the same noise
   and logits, the whole through a small network, and how often the device draws each state against the exact law; a
   difference beyond the tolerance ends the script with status 1;
2. step, starts, memory, sampling: the tables of `python -m benchmarks` with the paper's U-Net in bfloat16, batch 64, and how many
   kernels a step starts and how often the host waits;
3. training: SCUD with Gaussian noise on images of 256 levels for some minutes, then bits/dim on held-out images, and samples;
4. compiled: the step again, compiled as `training.compile` does (see `scud.diffusion.compiled`), beside the compiled network, if
   there is time left to compile.

--data is an .npz file with `x_train` and `x_test` or `x_valid`, uint8, [N, H, W] or [N, H, W, C]. Results go to gpu.md and
gpu.json, after every part, and samples to samples.npy. --reduced does all of it in miniature, in less than a minute on a CPU.
"""

import argparse
import copy
import math
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.exc import ShortenTraceback
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks import cases, starts, steps
from benchmarks.cases import Scale
from benchmarks.report import Row, Table, machine, machine_line, write
from scud.diffusion import SCUD, Classical, Diffusion, Masking, Noisy
from scud.diffusion.objectives import per_example
from scud.evaluation import evaluate
from scud.samplers import Ancestral
from scud.typing import Batch, BatchSize

TOLERANCES = {
    "bound": 1e-4,
    "logits' gradient": 1e-3,
    "evidence": 1e-5,
    "network's bound": 1e-4,
    "its gradient": 1e-3,
    "noise, z": 6.0,
    "reverse, z": 6.0,
}
"""Largest relative differences allowed between float32 on the device and float64 on the CPU; of draws, in standard deviations
(false alarm below 1e-5 over all states and models)."""

TOTAL, COMPILING = 570.0, 150.0
"""Seconds that all parts may take, and that compiling needs."""


LARGE = Scale(shape=(64, 3, 32, 32), states=(256, 64, 17, 2), size="paper", pairs=5, inner=3)

DRAWS = 2**17
"""Draws of a position whose frequencies are checked."""


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    Attributes:
        scale: of step, memory and sampling.
        checked: numbers of states that are checked.
        budget: seconds after which a table begins no further row.
        check_shape: batch of images that is checked.
        size: of the network that is trained.
        batch: images per training step.
        minutes: of training.
        held_out: images that are evaluated, each `repeats` times.
        samples: images drawn, in `scale.steps` steps.
    """

    scale: Scale = LARGE
    checked: tuple[int, ...] = Scale.states
    budget: float = 80.0
    check_shape: tuple[int, int, int, int] = (8, 3, 16, 16)
    size: str = "12M"
    batch: int = 128
    minutes: float = 3.0
    held_out: int = 1000
    repeats: int = 4
    samples: int = 64

    def reduced(self) -> "Plan":
        """A size that shows that everything runs."""
        scale = replace(self.scale.quick(), states=(17,))
        return replace(
            self,
            scale=scale,
            checked=(2, 17),
            check_shape=(4, 1, 8, 8),
            size="tiny",
            batch=16,
            minutes=0.02,
            held_out=20,
            repeats=1,
            samples=4,
        )


@dataclass(frozen=True)
class Images:
    """Images in memory: x [N, channels, height, width] uint8."""

    x: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Tensor) -> Batch:
        """The examples at index [batch]."""
        return Batch(self.x[index].long())

    def batches(self, size: BatchSize) -> Iterable[Tensor]:
        """All indices in order, `size.examples` at a time."""
        return torch.split(torch.arange(len(self)), size.examples)


def read_images(path: Path) -> tuple[Images, Images]:
    """Training and held-out images of an .npz file; KeyError without either."""
    with np.load(path, allow_pickle=False) as file:
        held_out = "x_test" if "x_test" in file.files else "x_valid"
        arrays = [file["x_train"], file[held_out]]
    parts = [
        torch.from_numpy(array if array.ndim == 4 else array[..., None]).movedim(-1, 1)
        for array in arrays
    ]
    return Images(parts[0].contiguous()), Images(parts[1].contiguous())


def within(rows: Iterator[Row], budget: float, name: str, text: str) -> Table:
    """A table of the rows that begin within a budget of seconds."""
    start, taken = time.monotonic(), list[Row]()
    for row in rows:
        taken.append(row)
        if time.monotonic() - start > budget:
            text += f" Stopped after {budget:g} s."
            break
    return Table(name, text, taken)


def relative(found: Tensor, true: Tensor) -> float:
    """Largest difference over the largest absolute value."""
    true = true.double()
    return float((found.detach().double().cpu() - true).abs().max() / true.abs().max())


def check_rows(plan: Plan, device: torch.device) -> Iterator[Row]:
    """Relative differences of float32 on the device from float64 on the CPU, a row for every number of states and model."""
    for num_states in plan.checked:
        for name in cases.MODELS:
            exact = cases.model(name, num_states)
            model = copy.deepcopy(exact).to(device)
            x0 = cases.images(exact.p0, plan.check_shape)
            # Times from both ends and between.
            t = exact.t_max * torch.linspace(1e-3, 1, len(x0), dtype=torch.float64)
            noisy = exact.corrupt(x0, t)
            network = cases.network("tiny", num_states, plan.check_shape[1:]).double()
            true = numbers(exact, network, x0, noisy, torch.float64)
            found = numbers(
                model,
                copy.deepcopy(network).float().to(device),
                x0.to(device),
                moved(noisy, device),
                torch.float32,
            )
            row: dict[str, object] = {"model": name, "B": num_states}
            differences = {what: relative(found[what], true[what]) for what in true}
            yield {**row, **differences, **deviations(exact, model, device)}


def deviations(exact: Diffusion, model: Diffusion, device: torch.device) -> dict[str, float]:
    """How far, in standard deviations, the device's draws of noised and of clean states are from their laws at most."""
    num_states, generator = model.num_states, torch.Generator(device).manual_seed(0)
    state, t = num_states // 3, torch.full((1,), 0.4, dtype=torch.float64)
    p = torch.randn(
        num_states, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).softmax(-1)
    x = torch.full((1, DRAWS), state, device=device)
    if isinstance(exact, Masking):
        masked = -(-exact.schedule.tau(t)).expm1()
        noised = torch.cat([(1 - masked) * (torch.arange(num_states) == state), masked])
        at, clean = Noisy(torch.full_like(x, num_states), t.to(device), torch.ones_like(x)), p
    else:
        assert isinstance(exact, SCUD | Classical)
        noised = exact.process.time().matrices(exact.schedule.tau(t))[0, state]
        at = Noisy(x, t.to(device), torch.full_like(x, 3) if isinstance(exact, SCUD) else None)
        amount = exact.amounts(
            moved(
                Noisy(at.x_t[:, :1], at.t, None if at.s is None else at.s[:, :1]),
                torch.device("cpu"),
            )
        )
        clean = p * exact.kernel.matrices(amount.flatten())[0, :, state]
    logits = p.log().float().to(device).expand(1, DRAWS, num_states)
    drawn = {
        "noise, z": (model.noise(x, t.to(device), generator).x_t, noised),
        "reverse, z": (model.reverse(at, logits, 0.0, generator).x_t, clean / clean.sum()),
    }
    return {name: largest_deviation(states.cpu(), law) for name, (states, law) in drawn.items()}


def largest_deviation(states: Tensor, law: Tensor) -> float:
    """Of the frequencies of states from their law [B], over states expected 100 times or more, in standard deviations."""
    count, expected = states.numel(), states.numel() * law
    seen = torch.bincount(states.flatten(), minlength=len(law)).double()
    z = (seen - expected) / (expected * (1 - law)).clamp_min(1e-300).sqrt()
    assert int(seen.sum()) == count
    return float(z[(expected >= 100) & (law < 1 - 1e-9)].abs().max())


def moved(noisy: Noisy, device: torch.device) -> Noisy:
    """The same noised batch on a device."""
    return Noisy(
        noisy.x_t.to(device), noisy.t.to(device), None if noisy.s is None else noisy.s.to(device)
    )


def numbers(
    model: Diffusion, network: nn.Module, x0: Tensor, noisy: Noisy, dtype: torch.dtype
) -> dict[str, Tensor]:
    """What is checked, on the same logits and weights whatever the precision."""
    generator, device = torch.Generator().manual_seed(0), x0.device
    # No sharp wrong logits: where a prediction is nearly 0 the bound depends on the precision's own floor, by design.
    logits = (
        torch.randn(*x0.shape, model.num_states, generator=generator)
        .to(device, dtype)
        .requires_grad_()
    )
    weight = torch.randn(model.num_states, cases.EMBEDDING, generator=generator).to(device, dtype)
    bound = per_example(model.integrand(logits, x0, noisy))
    bound.sum().backward()
    conditioning = model.condition(noisy)
    assert conditioning.evidence is not None
    assert logits.grad is not None
    through = per_example(model.integrand(network(noisy.x_t, conditioning), x0, noisy))
    through.sum().backward()
    gradients = [
        weights.grad.flatten() for weights in network.parameters() if weights.grad is not None
    ]
    return {
        "bound": bound.detach(),
        "logits' gradient": logits.grad,
        "evidence": conditioning.evidence.embed(weight),
        "network's bound": through.detach(),
        "its gradient": torch.cat(gradients),
    }


def check_table(plan: Plan, device: torch.device) -> tuple[Table, list[str]]:
    """The check, and what lies beyond its tolerance."""
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # or convolutions would keep ten bits
    rows = list(check_rows(plan, device))
    torch.backends.cudnn.allow_tf32 = tf32
    wrong = [
        f"{row['model']} at B = {row['B']}: {what} differs by {row[what]:.2g}, more than {most:g}"
        for row in rows
        for what, most in TOLERANCES.items()
        if not float(str(row[what])) <= most
    ]
    allowed = ", ".join(f"{what} {most:g}" for what, most in TOLERANCES.items())
    text = f"Largest relative difference of float32 on {device.type} from float64 on the CPU; allowed: {allowed}."
    return Table("check", text, rows), wrong


def train(
    plan: Plan, model: Diffusion, network: nn.Module, data: Images, device: torch.device
) -> tuple[nn.Module, list[Row]]:
    """Train for the plan's minutes, the learning rate rising for a hundred steps and falling to 0 in the end.

    Returns the average network and the mean loss, nats per dimension, of every tenth of the time.
    """
    prepared = steps.Bfloat16(network).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=0.01, fused=True)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    start, seconds, rows, losses, step = (
        time.monotonic(),
        60 * plan.minutes,
        list[Row](),
        list[Tensor](),
        0,
    )
    while True:
        share = (time.monotonic() - start) / seconds
        if losses and share >= (len(rows) + 1) / 10:
            mean = float(torch.stack(losses).mean())
            if not math.isfinite(mean):
                raise FloatingPointError(f"the training loss is {mean} at step {step}")
            rows.append({"step": step, "seconds": time.monotonic() - start, "loss, nats/dim": mean})
            losses = []
        if share >= 1 and step:
            return average.module.eval(), rows
        for group in optimizer.param_groups:
            group["lr"] = (
                1e-3 * min((step + 1) / 100, 1) * (1 + math.cos(math.pi * min(share, 1))) / 2
            )
        x0 = data.batch(torch.randint(len(data), (plan.batch,))).x0.to(device)
        loss = model.loss(prepared, x0)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.detach())
        step += 1


def training_tables(
    plan: Plan, images: tuple[Images, Images], out: Path, device: torch.device
) -> list[Table]:
    """Train on images of 256 levels, evaluate on held-out ones, write samples."""
    data, held_out = images
    counts = 1 + torch.bincount(data.x.flatten(), minlength=256).double()
    model = cases.model("SCUD", 256, counts / counts.sum()).to(device)
    dims = (data.x.shape[1], data.x.shape[2], data.x.shape[3])
    network = cases.network(plan.size, 256, dims).to(device)
    average, rows = train(plan, model, network, data, device)
    text = f"SCUD, Gaussian noise, B = 256, U-Net {plan.size}, {len(data)} images, batch {plan.batch}, bfloat16."
    found = evaluate(
        model, steps.Bfloat16(average), Images(held_out.x[: plan.held_out]), repeats=plan.repeats
    )
    last = rows[-1]
    score: Row = {
        "steps": last["step"],
        "images/s": plan.batch * float(str(last["step"])) / float(str(last["seconds"])),
        "bits/dim": found.bits_per_dim,
        "±": found.bits_per_dim_error,
        "prior, bits/dim": found.term_bits_per_dim(found.prior),
    }
    sampler = Ancestral(steps=plan.scale.steps)
    drawn = sampler(model, steps.Bfloat16(average), (plan.samples, *dims))
    np.save(out / "samples.npy", drawn.cpu().numpy().astype(np.uint8))
    told = f"On {found.examples} held-out images, {found.repeats} draws of each; weights averaged. Samples are in samples.npy."
    return [Table("training", text, rows), Table("evaluation", told, [score])]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="an .npz file of images")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for gpu.md, gpu.json and samples.npy"
    )
    parser.add_argument("--device", default="cuda", help="cuda, or cpu with --reduced")
    parser.add_argument("--minutes", type=float, default=None, help="of training; 3 by default")
    parser.add_argument("--seed", type=int, default=0, help="of weights, data and noise")
    parser.add_argument(
        "--reduced", action="store_true", help="in miniature: shows that all runs, not how fast"
    )
    options = parser.parse_args()
    if not options.data.is_file():
        parser.error(f"--data must name a file that exists, got {options.data}")
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device must be one that PyTorch has, got cuda; use --device cpu --reduced")
    try:
        images = read_images(options.data)
    except (AttributeError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        parser.error(
            f"--data must be an .npz file with x_train and x_test or x_valid, got {options.data} ({error})"
        )
    plan = Plan().reduced() if options.reduced else Plan()
    plan = plan if options.minutes is None else replace(plan, minutes=options.minutes)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    sys.exit(run(plan, images, options.out, device, options.seed))


def run(
    plan: Plan, images: tuple[Images, Images], out: Path, device: torch.device, seed: int
) -> int:
    """All parts in turn; the exit status."""
    start, tables, scale = time.monotonic(), list[Table](), plan.scale
    made_on = machine(seed, device)
    print(machine_line(seed, device), flush=True)

    def done(*new: Table) -> None:
        for table in new:
            tables.append(table)
            print(f"\n{table.markdown()}", end="", flush=True)
        print(f"\n{time.monotonic() - start:.0f} s so far", flush=True)
        write(out, "gpu", made_on, tables)

    check, wrong = check_table(plan, device)
    done(check)
    torch.backends.cudnn.benchmark = True
    measured: list[tuple[str, Iterator[Row], Callable[[Scale], str]]] = [
        ("step", steps.training_rows(scale, device, bfloat16=True), steps.training_text),
        ("starts", starts.starts_rows(scale, device, bfloat16=True), starts.starts_text),
        ("memory", steps.memory_rows(scale, device, bfloat16=True), steps.memory_text),
        ("sampling", steps.sampling_rows(scale, device, bfloat16=True), steps.sampling_text),
    ]
    for name, rows, text in measured:
        done(within(rows, plan.budget, name, f"{text(scale)} bfloat16."))
    done(*training_tables(plan, images, out, device))
    left = TOTAL - (time.monotonic() - start)
    if left > COMPILING:
        largest = replace(scale, states=(max(scale.states),))
        rows = steps.training_rows(largest, device, bfloat16=True, compiled=True)
        text = f"{steps.training_text(largest)} bfloat16, both compiled: the network; all of the step behind its noise."
        try:
            done(within(rows, left - COMPILING, "compiled", text))
        except ShortenTraceback as error:  # no compiler here: the other parts stand
            done(Table("compiled", f"{text} It failed: {str(error).splitlines()[0]}", []))
    else:
        print(f"No time to compile: {left:.0f} s left of {TOTAL:g}.")
    for line in wrong:
        print(f"Wrong: {line}", file=sys.stderr)
    print(f"\nWrote {out / 'gpu.md'}, {out / 'gpu.json'} and {out / 'samples.npy'}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    main()
