"""Bounds on the likelihood of held-out data, with their uncertainty."""

from scud.evaluation.bound import Evaluation, evaluate
from scud.typing import ExampleSet

__all__ = ["Evaluation", "ExampleSet", "evaluate"]
