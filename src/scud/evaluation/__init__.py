"""Bounds on the likelihood of held-out data, with their uncertainty."""

from scud.evaluation.bound import Evaluation, ExampleSet, evaluate

__all__ = ["Evaluation", "ExampleSet", "evaluate"]
