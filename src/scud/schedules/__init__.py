"""When noise happens: schedules tau(t), one file each."""

from scud.schedules.base import Schedule
from scud.schedules.cosine import Cosine
from scud.schedules.linear import Linear
from scud.schedules.mutual_information import MutualInformation

__all__ = ["Cosine", "Linear", "MutualInformation", "Schedule"]
