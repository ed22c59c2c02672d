"""When noise happens: schedules tau(t), one file each with their options."""

from scud.schedules.base import Schedule
from scud.schedules.cosine import Cosine, CosineOptions
from scud.schedules.linear import Linear, LinearOptions
from scud.schedules.mutual_information import MutualInformation, MutualInformationOptions

ScheduleOptions = MutualInformationOptions | LinearOptions | CosineOptions
"""The options of every schedule."""

__all__ = [
    "Cosine",
    "CosineOptions",
    "Linear",
    "LinearOptions",
    "MutualInformation",
    "MutualInformationOptions",
    "Schedule",
    "ScheduleOptions",
]
