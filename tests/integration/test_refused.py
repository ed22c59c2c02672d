"""What is refused: status 2, one message (argument, rule, value, remedy), and nothing written."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from scud.config import changed, read_config
from scud.errors import UserError
from scud.recipes import RECIPES
from tests.integration.conftest import Command, without
from tests.saved import update

Refuse = Callable[..., str]

MESSAGE = re.compile(r"^scud \w+: .* must .*, got .*; .*")
"""An argument, its rule, the value and a remedy."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a run would be, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "new"


@pytest.fixture
def refused(refuse: Refuse) -> Refuse:
    """What a command says that is refused by one message of the four parts."""

    def check(*arguments: object) -> str:
        said = refuse(*arguments)
        assert MESSAGE.match(said), said
        return said

    return check


@pytest.fixture
def labelled(scud: Command, tiny: list[str], run: Path, tmp_path: Path) -> Path:
    """A run of images of two classes, cat and dog, whose network reads labels."""
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (20, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "animals.npz", x_train=x, y_train=np.array(["cat", "dog"] * 10))
    options = [*tiny, f"--data.train={tmp_path / 'animals.npz'}", "--training.steps=1"]
    outcome = scud("train", "images", *options, "--network.labels=true", "--out", run)
    assert outcome.status == 0, outcome.err
    return run


@pytest.fixture
def plain(scud: Command, tiny: list[str], run: Path) -> Path:
    """A run of images without labels."""
    assert scud("train", "images", *tiny, "--training.steps=1", "--out", run).status == 0
    return run


OTHER_KINDS = {
    "process": ("digits", {"process.sharpness": 2}, "process.kind gaussian", "option of blosum62"),
    "data": (
        "digits",
        {"data.train": "x"},
        "data.kind digits",
        "images, sequences, text and arrays",
    ),
    "flips": ("text", {"data.flips": True}, "data.kind text", "option of images"),
    "batch": (
        "digits",
        {"training.batch_tokens": 64},
        "data.kind digits, images and arrays",
        "option of sequences",
    ),
    "batch of sequences": (
        "proteins",
        {"training.batch_size": 64},
        "data.kind sequences",
        "option of digits, images, text and arrays",
    ),
    "spans of images": (
        "digits",
        {"training.infill_share": 0.5},
        "data.kind digits, images and arrays",
        "option of sequences and text",
    ),
    "masking": (
        "digits",
        {"diffusion.kind": "masking", "process.bandwidth": 1},
        "masking",
        "masking has its own noise",
    ),
    "gamma": (
        "digits",
        {"diffusion.kind": "classical", "diffusion.gamma": 0.5},
        "diffusion.kind classical",
        "option of scud",
    ),
    "network": ("digits", {"network.heads": 2}, "network.kind unet", "option of dit"),
    "objective": (
        "digits",
        {"objective.share": 0.5},
        "objective.kind bound",
        "option of reconstruction",
    ),
}


def check_other_kind(said: str, values: dict[str, Any], rule: str, remedy: str) -> None:
    name, value = list(values.items())[-1]
    assert re.search(
        rf"{name} must be left out for {rule}, got '?{value}'?; ", said, re.IGNORECASE
    ), said
    assert remedy in said


@pytest.mark.parametrize(
    ("recipe", "values", "rule", "remedy"), OTHER_KINDS.values(), ids=OTHER_KINDS
)
def test_an_option_of_another_kind_on_the_command_line(
    refused: Refuse, run: Path, recipe: str, values: dict[str, Any], rule: str, remedy: str
) -> None:
    for form in ("--{}={}", "--{} {}"):
        options = [form.format(name.replace("_", "-"), value) for name, value in values.items()]
        words = [word for option in options for word in option.split()]
        check_other_kind(refused("train", recipe, *words, "--out", run), values, rule, remedy)


@pytest.mark.parametrize(
    ("recipe", "values", "rule", "remedy"), OTHER_KINDS.values(), ids=OTHER_KINDS
)
def test_an_option_of_another_kind_in_a_file(
    refused: Refuse, run: Path, recipe: str, values: dict[str, Any], rule: str, remedy: str
) -> None:
    path = run.parent.parent / "config.yaml"
    config = changed(RECIPES[recipe](), {})
    sections: dict[str, dict[str, Any]] = {"data": {"kind": config.data.kind}}
    for section in ("process", "diffusion", "network", "objective"):
        sections[section] = {"kind": getattr(config, section).kind}
    if "diffusion.kind" in values:
        del sections["process"]
    for name, value in values.items():
        section, _, option = name.partition(".")
        sections.setdefault(section, {})[option] = value
    path.write_text(yaml.safe_dump(sections))
    said = refused("train", path, "--out", run)
    assert f"in {path}: " in said
    check_other_kind(said, values, rule, remedy)


@pytest.mark.parametrize(
    ("recipe", "values", "rule", "remedy"), OTHER_KINDS.values(), ids=OTHER_KINDS
)
def test_an_option_of_another_kind_in_python(
    recipe: str, values: dict[str, Any], rule: str, remedy: str
) -> None:
    with pytest.raises(UserError) as caught:
        changed(RECIPES[recipe](), values)
    check_other_kind(str(caught.value), values, rule, remedy)


def test_a_share_to_hold_out_beside_a_file(refused: Refuse, run: Path, tmp_path: Path) -> None:
    files = [f"--data.train={tmp_path / 'a.txt'}", f"--data.valid={tmp_path / 'b.txt'}"]
    said = refused("train", "text", *files, "--data.valid-share=0.9", "--out", run)
    assert "data.valid_share must be left out beside data.valid, which is used, got 0.9" in said


def test_the_value_of_a_switch_or_of_a_negative_number_is_told(refused: Refuse, run: Path) -> None:
    assert "data.flips must be left out for data.kind text, got true" in refused(
        "train", "text", "--data.flips"
    )
    switch = refused("train", "text", "--data.flips", "--out", run)
    assert "data.flips must be left out for data.kind text, got true" in switch
    for value in (["--network.labels", "maybe"], ["--network.labels=maybe"]):
        unclear = refused("train", "digits", *value, "--out", run)
        assert "--network.labels must be true or false, got 'maybe'" in unclear
    negative = refused("train", "digits", "--process.sharpness", "-2", "--out", run)
    assert "process.sharpness must be left out for process.kind gaussian, got -2" in negative


def test_options_that_do_not_exist(refuse: Refuse, run: Path, tmp_path: Path) -> None:
    assert "Unrecognized options: --network.widht" in refuse(
        "train", "digits", "--network.widht=8", "--out", run
    )
    with pytest.raises(
        UserError, match=r"network\.widht is no option; choose from width, blocks, levels"
    ):
        changed(RECIPES["digits"](), {"network.widht": 8})
    with pytest.raises(
        UserError,
        match="nettwork is no option; choose from seed, init_from, threads, data, process",
    ):
        changed(RECIPES["digits"](), {"nettwork.width": 8})
    path = tmp_path / "config.yaml"
    path.write_text("data: {kind: digits}\nnetwork: {kind: unet, widht: 8}\n")
    with pytest.raises(UserError, match=r"config\.yaml: network\.widht is no option"):
        read_config(path)


def test_labels(refused: Refuse, labelled: Path) -> None:
    said = refused("sample", labelled, "--label=horse", "--num=1", "--steps=1")
    assert "label must be one of cat, dog, got 'horse'" in said


def test_changed_labels(refused: Refuse, labelled: Path, tiny: list[str], tmp_path: Path) -> None:
    file = tmp_path / "animals.npz"
    x = np.load(file)["x_train"]
    np.savez(file, x_train=x, y_train=np.array(["cat", "ant"] * 10))
    rule = "labels must be those that the run was trained on, got ant, which it does not know"
    assert rule in refused("evaluate", labelled, "--split=valid")
    options = [*tiny, f"--data.train={file}", "--training.steps=1", "--network.labels=true"]
    assert rule in refused("train", "images", *options, "--resume", "--out", labelled)
    new = [*options, f"--init-from={labelled}", "--out", tmp_path / "other"]
    assert rule in refused("train", "images", *new)


def test_a_label_on_a_run_without_labels(refused: Refuse, plain: Path) -> None:
    said = refused("sample", plain, "--label=3", "--num=1", "--steps=1")
    assert "label must be left out for a model that reads no labels, got '3'" in said
    assert "train with --network.labels true" in said


def test_data_without_labels(refused: Refuse, tiny: list[str], run: Path) -> None:
    said = refused("train", "images", *tiny, "--network.labels=true", "--out", run)
    assert (
        "network.labels must be left out: its examples have no class labels, got True for images"
        in said
    )
    dropout = refused("train", "images", *tiny, "--training.label-dropout=0.1", "--out", run)
    assert (
        "training.label_dropout must be left out for a network that reads no labels, got 0.1"
        in dropout
    )


def test_labels_that_name_no_record(
    refused: Refuse, small: list[str], proteins: Path, run: Path, tmp_path: Path
) -> None:
    table = tmp_path / "labels.tsv"
    table.write_text("name\tbin\nnobody\t1\nnowhere\t2\n")
    data = [*small, f"--data.train={proteins}", "--out", run]
    said = refused("train", "proteins", *data, f"--data.labels={table}")
    assert "data.labels must name records of the data, got none of them" in said
    said = refused("train", "proteins", *data, "--data.label-field=bin")
    assert "data.label_field must stand in the header of a record, got bin" in said
    said = refused("train", "proteins", *data, f"--data.labels={table}", "--data.label-field=bin")
    assert said.startswith("scud train: data.labels and data.label_field must not be given")
    said = refused("train", "proteins", *data, "--data.label-field=a=b")
    assert said.startswith("scud train: data.label_field must be a word without = in it")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nowhere.networks:Wide", "No module named 'nowhere'"),
        ("torch.nn:Missing", "has no attribute 'Missing'"),
        ("torch.nn.functional:relu", "which is a function"),
        ("torch.nn:Linear", "a class with spec()"),
        (":Wide", "Empty module name"),
    ],
)
def test_classes_that_cannot_be_used(refused: Refuse, run: Path, name: str, found: str) -> None:
    said = refused("train", "digits", f"--network.kind={name}", "--out", run)
    assert "network.kind must name a class" in said
    assert found in said
    with pytest.raises(UserError, match=re.escape("network.kind must name a class")):
        changed(RECIPES["digits"](), {"network.kind": name})


def test_a_model_of_a_later_version(refused: Refuse, plain: Path) -> None:
    path = plain / "model" / "config.json"
    written = json.loads(path.read_text())
    update(plain, lambda config: config.update(format=3))
    later = refused("sample", plain)
    assert f"format must be 2 or 1, which this version reads, got 3 in {path}" in later
    update(plain, lambda _: written | {"experts": 8})
    unknown = refused("evaluate", plain)
    assert "also experts; use the version that wrote it" in unknown
    for part in ("data", "network", "process", "diffusion"):
        changed_part = written[part] | {"experts": 8}
        update(plain, lambda _, part=part, value=changed_part: written | {part: value})
        assert "experts" in refused("sample", plain)


def test_a_configuration_of_a_later_version(refused: Refuse, plain: Path) -> None:
    path = plain / "config.yaml"
    path.write_text(path.read_text().replace("format: 2", "format: 3"))
    said = refused("train", path, "--out", plain, "--resume")
    assert (
        "format must be 2, the newest that this version reads, got 3; use the version that wrote it"
        in said
    )


def test_arrays(refused: Refuse, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "f.npy"
    train = ["train", "arrays", f"--data.train={path}", "--out", run]
    np.save(path, np.ones((9, 2)))
    floats = refused(*train)
    assert f"the array in {path} must hold integers, one for each category, got float64" in floats
    np.save(path, np.array([[0, 1], [-1, 2]]))
    negative = refused(*train)
    assert f"the array in {path} must hold integers from 0 on, got -1" in negative
    np.save(path, np.array([[0, 1], [1, 7]]))
    assert "must hold states in 0..3, got 7" in refused(*train, "--data.num-states=4")
    path.write_bytes(b"numbers")
    assert "must be an undamaged .npy file" in refused(*train)
    assert "name a file that exists" in refused(
        "train", "arrays", "--data.train=nowhere.npy", "--out", run
    )
    assert "add --data.train FILE" in refused("train", "arrays", "--out", run)


def test_options_of_evaluate_without_effect(refused: Refuse, plain: Path, tmp_path: Path) -> None:
    for option in ("--labels=false", "--labels"):
        said = refused("evaluate", plain, option)
        assert "labels must be left out for a run that reads no labels, got" in said
    said = refused("evaluate", plain, "--batch-tokens=64")
    assert "batch_tokens must be left out for images, which batch_size measures, got 64" in said
    said = refused("evaluate", plain, f"--samples={tmp_path / 'x.npz'}", "--batch-size=2")
    assert "batch_size must be left out with samples, which are compared, got 2" in said
    said = refused("evaluate", plain, f"--samples={tmp_path / 'x.npz'}", "--repeats=2")
    assert "repeats must be left out with samples, which are compared, got 2" in said
    for data, rule in (([], "be that of the run, "), ([f"--data={tmp_path}"], "be left out with")):
        said = refused("evaluate", plain, "--data-kind=some.where:Else", *data)
        assert f"data_kind must {rule}" in said
    assert "what stands alone goes before" in refused("train", "--overwrite", "digits")


def test_labels_with_a_file_to_evaluate(refused: Refuse, labelled: Path, tmp_path: Path) -> None:
    said = refused("evaluate", labelled, f"--data={tmp_path / 'animals.npz'}", "--labels=false")
    assert "labels must be left out with data, which is read without labels, got False" in said


def test_a_batch_size_of_sequences(
    scud: Command, refused: Refuse, small: list[str], proteins: Path, run: Path
) -> None:
    data = [*small, f"--data.train={proteins}", "--training.steps=1", "--out", run]
    assert scud("train", "proteins", *data).status == 0
    said = refused("evaluate", run, "--batch-size=4")
    assert "batch_size must be left out for sequences, which batch_tokens measures, got 4" in said


def test_samples_into_a_file(refused: Refuse, plain: Path, tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("mine")
    for out in (file, file / "below"):
        said = refused("sample", plain, f"--out={out}", "--num=1", "--steps=1")
        assert f"out must be a folder, got a file, {file}; choose another --out" in said
    assert file.read_text() == "mine"


def test_a_file_to_evaluate(refused: Refuse, plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    np.savez(path, x_train=np.zeros((5, 6, 4), dtype=np.uint8))
    other = refused("evaluate", plain, f"--data={path}")
    assert "must have the shape of the run's, [1, 4, 4], got [1, 6, 4]" in other
    assert "name a file or folder that exists" in refused("evaluate", plain, "--data=nowhere.npz")
    assert "data must not be given with split or samples, got both" in refused(
        "evaluate", plain, f"--data={path}", "--split=valid"
    )


def test_a_file_of_images_for_validation_is_read(
    scud: Command, refused: Refuse, tiny: list[str], run: Path, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "train.npz", x_train=x[:20])
    np.savez(tmp_path / "valid.npz", x_train=x[20:27])
    options = [
        *without(tiny, "data.train"),
        f"--data.train={tmp_path / 'train.npz'}",
        "--training.steps=1",
    ]
    trained = scud(
        "train", "images", *options, f"--data.valid={tmp_path / 'valid.npz'}", "--out", run
    )
    assert trained.status == 0, trained.err
    assert "valid: 7 images" in trained.err
    assert scud("evaluate", run, "--split=valid", "--repeats=1").status == 0
    assert json.loads((run / "evaluation-valid.json").read_text())["examples"] == 7
    missing = ["--data.valid=nowhere.npz", "--out", tmp_path / "x"]
    assert "name a file or folder that exists" in refused("train", "images", *options, *missing)


@pytest.mark.parametrize(
    ("option", "now"),
    [
        ("--training.flips=True", "data.flips"),
        ("--training.reconstruction=0.1", "objective.kind reconstruction"),
    ],
)
def test_options_of_0_1_0_are_told_by_their_new_names(
    refused: Refuse, run: Path, option: str, now: str
) -> None:
    said = refused("train", "images", option, "--out", run)
    assert now in said
    assert not run.exists()


def test_a_process_in_a_file_is_a_group_of_options(refused: Refuse, run: Path) -> None:
    run.parent.mkdir(parents=True)
    file = run.parent / "config.yaml"
    for kind in ("scud", "masking"):
        file.write_text(yaml.safe_dump({"process": 3, "diffusion": {"kind": kind}}))
        assert "process must" in refused("train", file, "--out", run)
        assert not run.exists()
