"""Configurations that others wrote: each value means one thing, and what does harm is refused at once."""

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from scud.config import read_config
from scud.config.strict import parse_yaml
from scud.errors import UserError


def refused(tmp_path: Path, text: str | bytes) -> str:
    """What is said of a file, in one short line and at once."""
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.perf_counter()
    with pytest.raises(UserError) as caught:
        read_config(path)
    assert time.perf_counter() - start < 5
    said = str(caught.value)
    assert len(said) < 800
    assert "\n" not in said
    assert "config.yaml" in said
    return said


BOMB = ", ".join(
    ["&a0 [lol, lol]", *(f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"seed: [{BOMB}]", "line 1 has the anchor or alias a0"),
        ("seed: *a", "line 1 has the anchor or alias a: write the value out"),
        ("data: {kind: digits}\nseed: &a 1", "line 2 has the anchor or alias a"),
        ("seed: !!bool zz", "has the tag tag:yaml.org,2002:bool: write the value alone"),
        ("seed: !!int abc", "has the tag"),
        ("seed: !!float zz", "has the tag"),
        ("seed: !!timestamp zz", "has the tag"),
        ("seed: !!python/object/apply:os.system [ls]", "has the tag"),
        ("!x {}", "has the tag !x"),
        ("seed: 1\nseed: 2", "line 2 has seed twice in one group"),
        ("data: {kind: digits}\ndata: {kind: text}", "line 2 has data twice in one group"),
        ("data: {kind: digits, kind: text}", "line 1 has kind twice"),
        ("<<: {seed: 1}", "<< is no option"),
        ("1: 2", "line 1 has a name that is no text"),
        ("? [1]\n: 2", "line 1 has a name that is no text"),
        ("null: 2", "a name that is no text"),
        ("seed: 1\n---\nseed: 2", "line 2 has a second document"),
        ("seed: " + "[" * 3000, "line 1 has more than 20 groups within another"),
        ("".join(" " * n + "a:\n" for n in range(600)), "more than 20 groups within another"),
        ("seed: " + "1" * 5000, "a number of more than 300 digits"),
        ("training: {learning_rate: 1." + "1" * 5000 + "}", "a number of more than 300 digits"),
        ("data: {train: [" + "1, " * 80_000 + "1]}", "beyond 20,000 names and values"),
        ("data: {train: [" + "1, " * 700_000 + "1]}", "be a configuration of at most 262,144"),
        ("#" * 10_000_000, "be a configuration of at most 262,144"),
        ("seed: " + "a" * 200_000, "seed: input should be a valid integer"),
        ("seed: 2001-13-45", "seed: input should be a valid integer, .* got '2001-13-45'"),
        ("seed: 2001-10-10", "seed: input should be a valid integer, .* got '2001-10-10'"),
        ("seed: yes", "seed: input should be a valid integer, .* got 'yes'"),
        ("seed: true", "seed must be no switch, got True"),
        ("training: {steps: true}", r"training\.steps must be no switch, got True"),
        ("training: {learning_rate: false}", r"training\.learning_rate must be no switch"),
        ("seed: 1:30", "got '1:30'"),
        ("seed: 0x10", "got '0x10'"),
        ("training: {learning_rate: .nan}", "should be a finite number"),
        ("training: {learning_rate: .inf}", "should be a finite number"),
        ("seed: \x00", "special characters are not allowed"),
        ("data:\n\tkind: digits", r"line 2: found character"),
        (b"\xff\xfes\0e\0e\0d\0", "be a configuration in UTF-8"),
        ("data: {kind: text, train: '~nosuchuser/x'}", r"data\.train must name a home folder"),
        ("", "hold sections of options"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:

    assert re.search(said, refused(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("off", "off"),
        ("12", 12),
        ("-3", -3),
        ("010", "010"),
        ("1_000", "1_000"),
        ("0.5", 0.5),
        ("1.0e-06", 1e-6),
        ("1e-3", "1e-3"),
        (".5", 0.5),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("2026-01-01", "2026-01-01"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    assert parse_yaml(f"a: {text}") == {"a": value}


def test_numbers_and_switches_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "seed: 010\ndata: {kind: images, flips: yes}\ntraining: {learning_rate: 1e-3, steps: '7'}\n"
    )
    config = read_config(path)
    assert (config.seed, config.training.learning_rate, config.training.steps) == (10, 1e-3, 7)
    assert config.data.flips is True


def test_a_pipe_or_a_folder_is_no_configuration(tmp_path: Path) -> None:

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, said in (("pipe", "a plain file"), (".", "name a file"), ("loop", "can be followed")):
        with pytest.raises(UserError, match=said):
            read_config(tmp_path / name)
