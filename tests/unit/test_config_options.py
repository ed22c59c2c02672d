"""The configuration: what is written is what is read, and a wrong option is named with its rule."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scud.config import (
    KINDS,
    Config,
    changed,
    default_config,
    differences,
    options_class,
    read_config,
    read_data_options,
    to_values,
    write_config,
)
from scud.data import ArraysOptions, DigitsOptions, ImagesOptions, SequencesOptions, TextOptions
from scud.diffusion import ClassicalOptions, MaskingOptions, SCUDOptions
from scud.diffusion.objectives import Bound, Reconstruction
from scud.errors import UserError
from scud.networks import ByteNetOptions, DiTOptions, UNetOptions
from scud.processes import (
    Blosum62Options,
    DenseOptions,
    GaussianOptions,
    NeighbourGraphOptions,
    Uniform,
    UniformOptions,
)
from scud.recipes import RECIPES
from scud.schedules import CosineOptions, LinearOptions, MutualInformationOptions
from scud.training.options import ByExamples, ByPositions, ByRows, TrainingOptions, options_for

positive = st.floats(1e-300, 1e300)
files = st.sampled_from([None, Path("a b/ü: #.npz")])
data_options = st.one_of(
    st.just(DigitsOptions()),
    st.builds(ImagesOptions, num_states=st.integers(2, 256), train=files, flips=st.booleans()),
    st.builds(SequencesOptions, alphabet=st.sampled_from(["protein", "dna", "HP"]), train=files),
    st.builds(
        TextOptions, tokens=st.sampled_from(["bytes", "vocab.txt"]), length=st.integers(1, 2**20)
    ),
    st.builds(ArraysOptions, num_states=st.none() | st.integers(2, 2**31), train=files),
)
process_options = st.one_of(
    st.just(UniformOptions()),
    st.builds(GaussianOptions, bandwidth=positive, normalized=st.booleans()),
    st.builds(Blosum62Options, sharpness=positive, matrix=st.sampled_from(["BLOSUM62", "PAM70"])),
    st.builds(DenseOptions, generator=st.sampled_from([None, Path("rates.npy")])),
    st.builds(NeighbourGraphOptions, bandwidth=positive, nearest=st.integers(1, 100)),
)
noises = st.one_of(
    st.tuples(st.builds(SCUDOptions, gamma=st.floats(1e-10, 1)), process_options),
    st.tuples(st.just(ClassicalOptions(t_max=0.9)), process_options),
    st.tuples(st.just(MaskingOptions()), st.none()),
)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    data: Any = draw(data_options)
    diffusion, process = draw(noises)
    training = options_for(data.modality)(
        learning_rate=draw(positive), ema_decay=draw(st.floats(0, 0.9999999))
    )
    return Config(
        seed=draw(st.integers(0, 2**63 - 1)),
        init_from=draw(st.sampled_from([None, Path("runs/é")])),
        threads=draw(st.sampled_from([None, 1, 1000])),
        data=data,
        process=process,
        schedule=draw(
            st.sampled_from([MutualInformationOptions(), LinearOptions(), CosineOptions()])
        ),
        diffusion=diffusion,
        network=draw(
            st.sampled_from(
                [UNetOptions(width=32), ByteNetOptions(hidden=7), DiTOptions.preset("tiny")]
            )
        ),
        objective=draw(st.just(Bound()) | st.builds(Reconstruction, share=st.floats(1e-9, 1))),
        training=training,
    )


@settings(max_examples=40)
@given(config=configs())
def test_yaml_round_trip(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    write_config(path, config)
    assert read_config(path) == config
    assert read_data_options(path) == config.data


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_a_round_trip(tmp_path: Path, name: str) -> None:
    write_config(tmp_path / "config.yaml", RECIPES[name]())
    assert read_config(tmp_path / "config.yaml") == RECIPES[name]()


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_holds_the_options_of_the_chosen_kinds_alone(tmp_path: Path, name: str) -> None:
    """The kind first; sizes in place of presets."""
    config = RECIPES[name]()
    write_config(tmp_path / "config.yaml", config)
    values = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert values.pop("format") == 2
    assert values.keys() == vars(config).keys()
    for section in KINDS:
        assert values[section].keys() == vars(getattr(config, section)).keys()
        assert next(iter(values[section])) == "kind"
    assert values["training"].keys() == vars(config.training).keys()


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_config(path, RECIPES["digits"]())
    path.write_text(path.read_text().replace("format: 2", "format: 3"))
    with pytest.raises(
        UserError,
        match=r"in .*config.yaml: format must be 2, .* got 3; use the version that wrote it",
    ):
        read_config(path)


def test_paths_mean_the_same_in_every_folder() -> None:
    assert ImagesOptions(train=Path("x.npz")).train == Path.cwd() / "x.npz"
    assert DenseOptions(generator=Path("~/rates.npy")).generator == Path.home() / "rates.npy"
    assert replace(RECIPES["digits"](), init_from=Path("runs/a")).init_from == Path.cwd() / "runs/a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("diffusion: {gamma: 1.5}", r"diffusion.gamma must lie in \(0, 1\], got 1.5"),
        ("diffusion: {gama: 1.0}", "diffusion.gama is no option; choose from t_max, gamma"),
        (
            "difusion: {gamma: 1.0}",
            "difusion is no option; choose from seed, init_from, threads, data",
        ),
        ("training: {steps: many}", "training.steps: input should be a valid integer.*got 'many'"),
        (
            "training: {learning_rate: .nan}",
            "training.learning_rate: input should be a finite number",
        ),
        (
            "process: {kind: pink}",
            "process.kind must be one of uniform, gaussian, .*, neighbour_graph, got 'pink'",
        ),
        (
            "process: {kind: gaussian, nearest: 3}",
            "process.nearest must be left out for process.kind gaussian",
        ),
        (
            "diffusion: {kind: masking}\nprocess: {kind: uniform}",
            "process.kind must be left out for masking",
        ),
        (
            "data: {kind: text}\ntraining: {batch_tokens: 9}",
            "training.batch_tokens must be left out for data.kind text, got 9; .* of sequences; text has",
        ),
        ("data: 3", "data must be a group of options, got 3"),
        ("training: [3]", "training must be a group of options"),
        (
            "network: {kind: dit, preset: huge}",
            "preset must be one of tiny, small, medium, paper for dit, got huge",
        ),
        (
            "network: {kind: my.nets:Wide}",
            "network.kind must be named by you, since a file may not name code",
        ),
        ("seed: -1", r"seed must lie in \[0, 9.22337e\+18\], got -1"),
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
    expected = Config(data=DigitsOptions(), training=ByExamples(learning_rate=1e-3))
    assert read_config(tmp_path / "config.yaml") == expected


def test_a_file_written_by_hand(tmp_path: Path) -> None:
    """Options left out have the defaults of the kinds that are chosen."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {kind: sequences, train: a.fasta, alphabet: dna}\n"
        "process: {kind: gaussian}\n"
        "network: {kind: bytenet, preset: 1M, layers: 2}\n"
        "training: {batch_tokens: 512}\n"
    )
    assert read_config(path) == Config(
        data=SequencesOptions(train=Path("a.fasta"), alphabet="dna"),
        process=GaussianOptions(),
        network=ByteNetOptions(width=256, layers=2, hidden=128),
        training=ByPositions(batch_tokens=512),
    )
    path.write_text("data: {kind: arrays}\ndiffusion: {kind: masking}\nprocess: null\n")
    assert read_config(path) == Config(
        data=ArraysOptions(), process=None, diffusion=MaskingOptions()
    )


def test_differences_are_named() -> None:
    config = RECIPES["digits"]()
    other = changed(config, {"seed": 1, "training.steps": 3})
    assert differences(config, other) == ["seed", "training.steps"]
    assert differences(other, other) == []
    masking = changed(config, {"diffusion.kind": "masking"})
    assert set(differences(config, masking)) == {
        *("process", "process.kind", "process.bandwidth", "process.normalized"),
        *("diffusion.kind", "diffusion.gamma"),
    }


DIGITS = RECIPES["digits"]()


@pytest.mark.parametrize(
    "values",
    [
        {"process.kind": "neighbour_graph", "process.nearest": 3, "seed": 5},
        {"process": {"kind": "neighbour_graph", "nearest": 3}, "seed": 5},
        {"process": {"kind": "neighbour_graph"}, "process.nearest": 3, "seed": 5},
        {"process.nearest": 3, "process": {"kind": "neighbour_graph"}, "seed": 5},
        {"seed": "5", "process": {"nearest": "3", "kind": "neighbour_graph"}},
    ],
)
def test_names_may_be_nested_or_have_dots(values: Mapping[str, Any]) -> None:
    expected = replace(DIGITS, process=NeighbourGraphOptions(nearest=3), seed=5)
    assert changed(DIGITS, values) == expected


def test_nothing_changes_unless_it_is_named() -> None:
    for recipe in RECIPES.values():
        assert changed(recipe(), {}) == recipe()
        assert changed(recipe(), to_values(recipe())) == recipe()
    assert changed(DIGITS, {"process.bandwidth": 0.2}).process == GaussianOptions(bandwidth=0.2)
    assert changed(DIGITS, {"network.kind": "unet"}).network == DIGITS.network


def test_a_section_of_another_kind_starts_from_its_defaults() -> None:
    found = changed(
        DIGITS, {"network.kind": "dit", "network.heads": 8, "diffusion.kind": "classical"}
    )
    assert found.network == DiTOptions(heads=8)
    assert found.diffusion == ClassicalOptions()
    assert found.process == DIGITS.process


def test_training_keeps_the_values_that_other_data_have_too() -> None:
    config = replace(DIGITS, training=ByExamples(steps=7, batch_size=9))
    assert changed(config, {"data.kind": "images"}).training == config.training
    assert changed(config, {"data.kind": "text"}).training == ByRows(steps=7, batch_size=9)
    assert changed(config, {"data.kind": "sequences"}).training == ByPositions(steps=7)
    back = changed(changed(config, {"data.kind": "sequences"}), {"data": {"kind": "digits"}})
    assert back.training == ByExamples(steps=7)


def test_masking_has_its_own_noise() -> None:
    masking = changed(DIGITS, {"diffusion.kind": "masking"})
    assert masking.process is None
    for values in ({"process.kind": "uniform"}, {"process.bandwidth": 0.2}):
        with pytest.raises(
            UserError,
            match=r"process\.\w+ must be left out for masking, got [^;]*; masking has its own",
        ):
            changed(masking, values)
        with pytest.raises(UserError, match="must be left out for masking"):
            changed(DIGITS, {**values, "diffusion.kind": "masking"})
    assert changed(masking, {"diffusion.kind": "scud"}).process == UniformOptions()
    with pytest.raises(UserError, match="process must have options of a process, got None"):
        Config(data=DigitsOptions(), process=None)
    with pytest.raises(UserError, match="process must be None, since masking has its own noise"):
        Config(data=DigitsOptions(), diffusion=MaskingOptions())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"process.nearest": 3},
            r"process\.nearest must be left out for process\.kind gaussian, got [^;]*; it is an option of "
            r"neighbour_graph; gaussian has bandwidth, normalized",
        ),
        (
            {"process.kind": "uniform", "process.bandwidth": 0.3},
            r"process\.bandwidth must be left out for process\.kind uniform, got [^;]*; it is an option of "
            r"gaussian and neighbour_graph; uniform has no others",
        ),
        (
            {"diffusion.kind": "classical", "diffusion.gamma": 0.5},
            "it is an option of scud; classical has t_max",
        ),
        (
            {"network.layers": 3},
            "it is an option of bytenet and dit; unet has width, blocks, levels",
        ),
        (
            {"data.train": "x.npz"},
            "got x.npz; it is an option of images, sequences, text and arrays; digits has no others",
        ),
        ({"objective.share": 0.5}, "it is an option of reconstruction; bound has no others"),
        ({"schedule.gamma": 0.5}, "schedule.gamma is no option; choose from no others"),
        (
            {"process.breadth": 0.5},
            "process.breadth is no option; choose from bandwidth, normalized",
        ),
        (
            {"training.infill_share": 0.5},
            r"training.infill_share must be left out for data.kind digits, .*; it is an option of "
            r"sequences and text; digits, images and arrays have steps, precision",
        ),
        (
            {"training.label": 0.5, "training.steps": 3},
            "training.label is no option; choose from steps",
        ),
        (
            {"proces.kind": "uniform"},
            "proces is no option; choose from seed, init_from, threads, data, process",
        ),
        ({"sed": 3, "init": None}, "sed, init is no option; choose from seed"),
        (
            {"process.kind": "pink"},
            r"process\.kind must be one of uniform, .*, got 'pink'; .* package\.module:Class",
        ),
        (
            {"process": "uniform"},
            "process must be a group of options, got 'uniform'; write them below process:",
        ),
        ({"training": 3}, "training must be a group of options, got 3; write them below training:"),
    ],
)
def test_an_option_that_does_not_exist_here_is_refused_by_name(
    values: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        changed(DIGITS, values)


@pytest.mark.parametrize("values", [{"seed": 3, "seed.x": 1}, {"seed.x": 1, "seed": 3}])
def test_a_name_is_an_option_or_a_section(values: Mapping[str, Any]) -> None:
    with pytest.raises(
        UserError,
        match=r"seed must be a value, or a group of options, got both .*; give one of them",
    ):
        changed(DIGITS, values)
    with pytest.raises(UserError, match=r"seed: input should be a valid integer, got \{'x': 1\}"):
        changed(DIGITS, {"seed.x": 1})


@pytest.mark.parametrize(
    ("values", "make", "message"),
    [
        (
            {"process.bandwidth": 0},
            lambda: GaussianOptions(bandwidth=0),
            "bandwidth must be positive",
        ),
        ({"diffusion.gamma": 0}, lambda: SCUDOptions(gamma=0), r"gamma must lie in \(0, 1\]"),
        ({"diffusion.t_max": 1}, lambda: SCUDOptions(t_max=1), r"t_max must lie in \(0, 1\)"),
        ({"network.width": 9}, lambda: UNetOptions(width=9), "width must be .*8.*, got 9"),
        ({"network.dropout": 1}, lambda: UNetOptions(dropout=1), r"dropout must lie in \[0, 1\)"),
        (
            {"objective": {"kind": "reconstruction", "share": 0}},
            lambda: Reconstruction(share=0),
            "share must lie in",
        ),
        ({"training.steps": 0}, lambda: ByExamples(steps=0), "steps must be at least 1, got 0"),
        (
            {"training.batch_size": 0},
            lambda: ByExamples(batch_size=0),
            "batch_size must be at least 1, got 0",
        ),
        (
            {"training.ema_decay": 1},
            lambda: ByExamples(ema_decay=1),
            r"ema_decay must lie in \[0, 1\), got 1",
        ),
        (
            {"training.clip": 0},
            lambda: ByExamples(clip=0),
            "clip must be positive and finite, got 0",
        ),
        ({"seed": 2**63}, lambda: replace(DIGITS, seed=2**63), "seed must lie in"),
        (
            {"data": {"kind": "images", "num_states": 257}},
            lambda: ImagesOptions(num_states=257),
            r"num_states must lie in \[2, 256\], got 257",
        ),
        (
            {"data": {"kind": "arrays", "valid_share": 1}},
            lambda: ArraysOptions(valid_share=1),
            r"valid_share must lie in",
        ),
        (
            {"data": {"kind": "text", "length": 0}},
            lambda: TextOptions(length=0),
            "length must lie in",
        ),
        (
            {"data": {"kind": "sequences", "long": "keep"}},
            lambda: SequencesOptions(long="keep"),
            "long",
        ),  # type: ignore[arg-type]
    ],
)
def test_values_are_refused_wherever_they_are_given(
    values: Mapping[str, Any], make: Callable[[], object], message: str
) -> None:
    """In Python and by name, with one message."""
    for attempt in (make, lambda: changed(DIGITS, values)):
        with pytest.raises(UserError, match=message):
            attempt()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"training.steps": "many"},
            "training.steps: input should be a valid integer.*, got 'many'",
        ),
        ({"training.steps": 1.5}, "training.steps: input should be a valid integer"),
        (
            {"training.compile": "perhaps"},
            "training.compile: input should be a valid boolean.*, got 'perhaps'",
        ),
        (
            {"training.learning_rate": float("inf")},
            "training.learning_rate: input should be a finite number",
        ),
        (
            {"training.decay": "linear"},
            "training.decay: input should be 'constant' or 'cosine', got 'linear'",
        ),
        ({"seed": "x"}, "seed: input should be a valid integer.*, got 'x'"),
    ],
)
def test_values_of_another_type_are_refused(values: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        changed(DIGITS, values)


def test_every_broken_rule_of_a_section_is_told() -> None:
    with pytest.raises(UserError, match=r"training.steps: .*; training.warmup: "):
        changed(DIGITS, {"training.steps": "many", "training.warmup": "few"})


def test_a_preset_does_not_win_over_a_size_that_is_given() -> None:
    found = changed(DIGITS, {"network.preset": "paper", "network.width": 64})
    assert found.network == UNetOptions(width=64, blocks=32, levels=1, head="mixed")
    found = changed(DIGITS, {"network.width": 64, "network.preset": "0.6M", "network.kind": "unet"})
    assert (found.network.width, found.network.blocks, found.network.levels) == (64, 1, 3)
    found = changed(DIGITS, {"network": {"preset": "tiny", "kind": "dit"}})
    assert found.network == DiTOptions.preset("tiny")
    assert changed(DIGITS, {"network.preset": None}) == DIGITS
    for options in (UNetOptions, ByteNetOptions, DiTOptions):
        for name, sizes in options.presets.items():
            assert options.preset(name) == options(**sizes)
            assert options.sizes(name) == sizes


def test_a_preset_of_another_kind_is_refused() -> None:
    with pytest.raises(
        UserError,
        match=r"network.preset must be one of 0.6M, .* for unet, got tiny; choose one of these",
    ):
        changed(DIGITS, {"network.preset": "tiny"})
    with pytest.raises(
        UserError, match=r"preset must be one of 0\.6M, 4M, 12M, paper for unet, got tiny"
    ):
        UNetOptions.preset("tiny")
    with pytest.raises(
        UserError, match=r"process\.preset is no option; choose from bandwidth, normalized"
    ):
        changed(DIGITS, {"process.preset": "tiny"})


def test_training_has_the_options_that_suit_the_data() -> None:
    expected: dict[Any, type[TrainingOptions]] = {
        DigitsOptions: ByExamples,
        ImagesOptions: ByExamples,
        ArraysOptions: ByExamples,
        SequencesOptions: ByPositions,
        TextOptions: ByRows,
    }
    assert set(KINDS["data"].values()) == set(expected)
    for data, training in expected.items():
        assert type(default_config(data()).training) is training
    with pytest.raises(
        UserError, match="training must be ByRows, which suit texts, got ByExamples"
    ):
        Config(data=TextOptions(), training=ByExamples())


def test_a_kind_is_the_name_of_options_or_of_a_class_that_the_user_names() -> None:
    for section, kinds in KINDS.items():
        for kind, options in kinds.items():
            assert options_class(section, kind) is options
    own = "tests.unit.test_config_options:OwnProcess"
    config = changed(DIGITS, {"process.kind": own, "process.speed": "2"})
    assert (config.process.kind, config.process.speed) == (own, 2.0)
    with pytest.raises(UserError, match="must be named by you"):
        changed(DIGITS, {"process.kind": own}, named=())
    assert changed(DIGITS, {"process.kind": own, "process.speed": 2}, named=[own]) == config


class OwnProcess(Uniform):
    """A class of a user's own, of which options are made."""

    def __init__(self, num_states: int, speed: float = 1.0) -> None:
        super().__init__(num_states)
        self.speed = speed

    def spec(self) -> dict[str, Any]:
        return {"num_states": self.num_states, "speed": self.speed}
