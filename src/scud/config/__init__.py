"""The configuration of a run: one group of options per section, and the files that hold it."""

from scud.config.files import (
    FORMAT,
    differences,
    kinds_of,
    read_config,
    read_data_options,
    to_values,
    write_config,
)
from scud.config.sections import (
    KINDS,
    MOVED,
    SINGLE,
    Config,
    changed,
    default_config,
    nested,
    options_class,
    owners_of,
    unknown_option,
)

__all__ = [
    "FORMAT",
    "KINDS",
    "MOVED",
    "SINGLE",
    "Config",
    "changed",
    "default_config",
    "differences",
    "kinds_of",
    "nested",
    "options_class",
    "owners_of",
    "read_config",
    "read_data_options",
    "to_values",
    "unknown_option",
    "write_config",
]
