"""Files of configurations that are damaged, or are none, are refused by name."""

from pathlib import Path

import pytest
import yaml

from scud.config import read_config
from scud.config.files import check_is_config, read_data_options
from scud.errors import UserError

OLD = {
    "data": {"kind": "digits"},
    "network": {"kind": "unet", "preset": None},
    "process": {"kind": "uniform", "bandwidth": None},
    "diffusion": {"kind": "scud"},
    "training": {"flips": False},
}


@pytest.mark.parametrize(
    "text",
    ["[" * 20_000, "a: !!timestamp 2026-99-99", "a: \x00", "a: [", "- 1", "text", "a: {[1]: 2}"],
)
def test_what_is_no_configuration(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    for read in (read_config, read_data_options, check_is_config):
        with pytest.raises(UserError, match=r"config.*config\.yaml"):
            read(path)


@pytest.mark.parametrize("text", ["data: foo", "data: [1, 2]", "data: 3"])
def test_data_that_are_no_group(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    for read in (read_config, read_data_options):
        with pytest.raises(UserError, match=r"in .*config\.yaml: data must be a group of options"):
            read(path)


@pytest.mark.parametrize("section", ["network", "process"])
def test_an_old_section_without_its_kind(tmp_path: Path, section: str) -> None:
    path = tmp_path / "config.yaml"
    given = dict(OLD[section])
    del given["kind"]
    path.write_text(yaml.safe_dump({**OLD, section: given}))
    with pytest.raises(UserError, match=rf"in .*config\.yaml: {section}\.kind must be given"):
        read_config(path)


@pytest.mark.parametrize("text", ["format: 7\ndata: {kind: digits}"])
def test_a_later_format_names_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    for read in (read_config, read_data_options):
        with pytest.raises(UserError, match=r"in .*config\.yaml: format must be"):
            read(path)


def test_a_configuration_is_known_by_its_sections(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: {kind: 'nowhere:Kind'}\nnetwork: {kind: 'nowhere:Wide'}\n")
    check_is_config(path)
    path.write_text("name: my website\n")
    with pytest.raises(UserError, match="name is no option"):
        check_is_config(path)
    path.write_text("seed: 3\n")
    with pytest.raises(UserError, match="have the section data"):
        check_is_config(path)
