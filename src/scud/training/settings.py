"""Typed settings: the base of every section of a configuration, and the section that training reads."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scud.errors import UserError


class Section(BaseModel):
    """A frozen group of options.

    A value that breaks a rule raises `UserError` naming the option, the rule, the value and what the option means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UserError(describe(type(self), error)) from None


def describe(section: type[BaseModel], error: ValidationError) -> str:
    """One sentence per broken rule."""
    return "; ".join(_sentence(section, dict(problem)) for problem in error.errors())


def _sentence(section: type[BaseModel], problem: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{name} is no option; choose from {', '.join(section.model_fields)}"
    if problem["type"] == "value_error":
        return f"{name}: {problem['ctx']['error']}" if name else str(problem["ctx"]["error"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    field = section.model_fields.get(name)
    meaning = f" ({field.description})" if field is not None else ""
    return f"{name}: {message}, got {problem['input']!r}{meaning}"


class TrainingConfig(Section):
    """How the network is trained."""

    steps: int = Field(default=1500, ge=1, description="Optimiser steps.")
    batch_size: int = Field(
        default=64, ge=1, description="Images, text: examples per step, over all accumulation steps together."
    )
    batch_tokens: int = Field(
        default=4096,
        ge=1,
        description="Sequences: positions per step, padding included, instead of batch_size; a batch holds like lengths.",
    )
    infill_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Sequences, text: share of examples in which a random part is kept clean, as what surrounds a gap is.",
    )
    reconstruction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the cross-entropy of x0 itself in the loss, the rest being the bound; both have one minimum.",
    )
    flips: bool = Field(default=False, description="Images: mirror half of the training examples left to right.")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="What the network computes in while training; weights, loss and evaluation stay in float32.",
    )
    compile: bool = Field(
        default=False, description="Compile the network with torch.compile; on a CPU this needs a C++ compiler."
    )
    accumulate: int = Field(
        default=1, ge=1, description="Parts a batch is split into to save memory; divides batch_size."
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="Peak learning rate of AdamW.")
    warmup: int = Field(default=100, ge=0, description="Steps over which the learning rate rises linearly to its peak.")
    decay: Literal["constant", "cosine"] = Field(
        default="cosine", description="Learning rate after warm-up: kept, or lowered to 0 along half a cosine."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay of AdamW.")
    clip: float = Field(
        default=1.0, gt=0, description="Largest norm of the gradient; larger ones are scaled down to it."
    )
    ema_decay: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="Decay of the moving average of the weights, which evaluation and samples use.",
    )
    validate_every: int = Field(
        default=250, ge=1, description="Steps between validations; the checkpoint and the model are written there too."
    )
    validation_examples: int = Field(
        default=1000,
        ge=1,
        description="At most so many validation examples are used in training; always the same ones.",
    )
    validation_repeats: int = Field(
        default=4, ge=1, description="Draws of noise per validation example, always the same ones."
    )
