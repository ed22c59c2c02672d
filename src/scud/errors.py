"""What can go wrong, and the checks that say so.

Public input that is wrong raises `ValueError` (wrong value) or `TypeError` (wrong kind of thing). Every message names
the argument, the rule, the value that was given, and what to do about it. Checks belong to constructors and public
entry points, never to inner loops.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_SEED = 2**63 - 1

LONGEST = 300
"""Characters of a value that a message shows."""

_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxtuple, _BRIEF.maxdict, _BRIEF.maxstring = (
    3,
    20,
    20,
    20,
    80,
)


class UserError(ValueError):
    """A mistake in what the user asked for: commands print its message, without a traceback, and exit with status 2."""

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class Interrupted(KeyboardInterrupt):
    """A command was asked to stop by a signal, and has written what it had.

    Attributes:
        signum: the number of the signal; commands exit with status 128 + signum.
    """

    def __init__(self, signum: int, hint: str = "") -> None:
        super().__init__(hint)
        self.signum = signum


def fail(argument: str, rule: str, value: object, remedy: str) -> UserError:
    """The error `argument must rule, got value; remedy`, to be raised by the caller."""
    return UserError(f"{shown(argument)} must {rule}, got {shown(value)}; {remedy}")


def shown(value: object) -> str:
    """A value as a message shows it: what is long is cut in the middle, and a container is not gone through to its end."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**LONGEST:
        return f"a number of more than {LONGEST} digits"
    text = _BRIEF.repr(value) if isinstance(value, list | tuple | dict | set) else str(value)
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"


def printable(text: str) -> str:
    """A text whose control characters are written as escapes, so that none of them reaches a terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def check_in_interval(
    argument: str,
    value: float,
    low: float,
    high: float,
    remedy: str,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise `UserError` unless low <= value <= high (an end is excluded when it is open)."""
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise fail(argument, f"lie in {interval}", value, remedy)


def check_at_least(argument: str, value: float, low: float, remedy: str) -> None:
    """Raise unless `value` is a number of at least `low`."""
    check_number(argument, value, remedy)
    if not value >= low:
        raise fail(argument, f"be at least {low:g}", value, remedy)


def check_count(argument: str, value: int, low: int, remedy: str) -> None:
    """Raise unless `value` is a whole number of at least `low`."""
    check_at_least(argument, value, low, remedy)
    if not isinstance(value, int):
        raise TypeError(f"{argument} must be a whole number, got {value!r}; {remedy}")


def check_seed(seed: object) -> None:
    """Raise unless `seed` is a whole number in [0, `LARGEST_SEED`]."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be a whole number, got {seed!r}; give one such as 0")
    check_in_interval("seed", seed, 0, LARGEST_SEED, "any smaller number will do")


def check_number(argument: str, value: object, remedy: str) -> None:
    """Raise `TypeError` unless `value` is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{argument} must be a number, got {value!r}; {remedy}")


def check_positive(argument: str, value: float, remedy: str) -> None:
    """Raise unless `value` is a finite number above 0."""
    check_number(argument, value, remedy)
    if not 0 < value <= sys.float_info.max:
        raise fail(argument, "be positive and finite", value, remedy)


def check_choice(argument: str, value: str, choices: Iterable[str]) -> None:
    """Raise `UserError` unless `value` is one of `choices`."""
    names = sorted(choices)
    if value not in names:
        raise fail(argument, f"be one of {', '.join(names)}", repr(value), "choose one of these")


def check_states(argument: str, states: Tensor, num_states: int) -> None:
    """Raise unless `states` holds integers in [0, num_states)."""
    import torch  # here, because `scud --help` needs this module but cannot wait for PyTorch

    states = as_signed(argument, states)
    if states.dtype.is_floating_point or states.dtype.is_complex or states.dtype == torch.bool:
        raise TypeError(
            f"{argument} must hold integer states, got dtype {states.dtype}; convert it with .long()"
        )
    if states.numel() == 0:
        raise fail(
            argument,
            "hold at least one state",
            f"shape {tuple(states.shape)}",
            "pass data that is not empty",
        )
    low, high = (int(end) for end in states.aminmax())
    if low < 0 or high >= num_states:
        worst = low if low < 0 else high
        raise fail(
            argument,
            f"hold states in 0..{num_states - 1}",
            worst,
            "raise num_states or clean the data",
        )


def as_signed(argument: str, numbers: Tensor) -> Tensor:
    """A tensor, as int64 where its integers are unsigned and of two bytes or more.

    PyTorch hardly computes with these.

    Raises:
        TypeError: it is no tensor.
    """
    import torch

    if not isinstance(numbers, torch.Tensor):
        kind = type(numbers).__name__
        raise TypeError(
            f"{argument} must be a tensor of integers, got {kind}; convert with torch.as_tensor"
        )
    wide = numbers.dtype in (torch.uint16, torch.uint32, torch.uint64)
    return numbers.long() if wide else numbers


def check_distribution(argument: str, probs: Tensor, num_states: int) -> None:
    """Raise unless `probs` is a strictly positive probability vector of shape [num_states]."""
    import torch

    if not isinstance(probs, torch.Tensor):
        raise TypeError(
            f"{argument} must be a tensor [B], got {type(probs).__name__}; convert it with torch.as_tensor"
        )
    if tuple(probs.shape) != (num_states,):
        raise fail(
            argument,
            f"have shape [{num_states}]",
            f"{list(probs.shape)}",
            "give one probability per state",
        )
    if not bool(torch.isfinite(probs).all()) or float(probs.min()) <= 0:
        raise fail(
            argument,
            "be positive and finite",
            f"a minimum of {float(probs.min()):g}",
            "add one to each count before normalising",
        )
    if abs(float(probs.double().sum()) - 1) > 1e-6:
        raise fail(
            argument, "sum to 1", f"{float(probs.double().sum()):.8g}", "divide it by its sum"
        )


def check_flags(argument: str, flags: Tensor, shape: Iterable[int]) -> None:
    """Raise `UserError` unless `flags` is a bool tensor of this shape."""
    import torch

    expected = list(shape)
    if flags.dtype != torch.bool or list(flags.shape) != expected:
        given = f"{flags.dtype} of shape {list(flags.shape)}"
        raise fail(
            argument, f"be bool of shape {expected}", given, "give True or False for every position"
        )
