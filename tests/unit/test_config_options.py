"""The configuration: what is written is what is read, and a wrong option is named with its rule."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scud.training.settings import Section, TrainingConfig

from scud.config import (
    Config,
    DataConfig,
    DiffusionConfig,
    ProcessConfig,
    differences,
    read_config,
    write_config,
)
from scud.errors import UserError
from scud.recipes import RECIPES

positive = st.floats(1e-300, 1e300)
configs = st.builds(
    Config,
    seed=st.integers(0, 2**63 - 1),
    data=st.builds(
        DataConfig,
        num_states=st.integers(2, 256),
        train=st.sampled_from([None, Path("a b/ü: #.npz")]),
    ),
    process=st.builds(
        ProcessConfig, bandwidth=positive, kind=st.sampled_from(["gaussian", "uniform", "dense"])
    ),
    diffusion=st.builds(
        DiffusionConfig,
        gamma=st.floats(1e-10, 1),
        kind=st.sampled_from(["scud", "masking", "classical"]),
    ),
    training=st.builds(TrainingConfig, learning_rate=positive, ema_decay=st.floats(0, 0.9999999)),
)


@given(config=configs)
def test_yaml_round_trip(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    write_config(path, config)
    assert read_config(path) == config


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_a_round_trip(tmp_path: Path, name: str) -> None:
    write_config(tmp_path / "config.yaml", RECIPES[name]())
    assert read_config(tmp_path / "config.yaml") == RECIPES[name]()


def test_paths_mean_the_same_in_every_folder() -> None:
    assert DataConfig(train=Path("x.npz")).train == Path.cwd() / "x.npz"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("diffusion: {gamma: 1.5}", "gamma: input should be less than or equal to 1, got 1.5"),
        ("diffusion: {gama: 1.0}", "gama is no option; choose from kind, gamma, t_max"),
        ("difusion: {gamma: 1.0}", "difusion is no option; choose from seed"),
        ("training: {steps: many}", "steps: input should be a valid integer.*got 'many'"),
        ("training: {learning_rate: .nan}", "learning_rate: input should be a finite number"),
        (
            "process: {kind: pink}",
            "kind: input should be 'gaussian', 'uniform',.* or 'dense', got 'pink'",
        ),
        ("seed: -1", "seed: input should be greater than or equal to 0, got -1"),
        ("seed: [1", "config must be YAML"),
        ("just words", "config must hold sections of options"),
        ("", "config must hold sections of options"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_a_file_that_does_not_exist() -> None:
    with pytest.raises(UserError, match="name a file that exists"):
        read_config(Path("nowhere.yaml"))


def test_options_left_out_have_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("training:\n  learning_rate: 1e-3\n")
    assert read_config(tmp_path / "config.yaml") == Config(
        training=TrainingConfig(learning_rate=1e-3)
    )


def test_differences_are_named() -> None:
    other = Config(seed=1, training=TrainingConfig(steps=3))
    assert differences(Config(), other) == ["seed", "training.steps"]
    assert differences(other, other) == []


def test_every_option_is_explained() -> None:
    config = Config()
    sections = [config, *(value for _, value in config if isinstance(value, Section))]
    assert len(sections) == 7
    for section in sections:
        for name, field in type(section).model_fields.items():
            assert field.description, f"{type(section).__name__}.{name}"
