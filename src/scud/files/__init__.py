"""Files: opening what others name, writing whole or not at all, locks, arrays, texts in pieces, and a cache."""

from scud.files.opening import absolute, check_file, is_file, is_folder, read_bytes, read_text
from scud.files.structured import parse_json
from scud.files.writing import (
    appending,
    make_folder,
    remove_temporaries,
    write_text,
    writing,
    writing_text,
)

__all__ = [
    "absolute",
    "appending",
    "check_file",
    "is_file",
    "is_folder",
    "make_folder",
    "parse_json",
    "read_bytes",
    "read_text",
    "remove_temporaries",
    "write_text",
    "writing",
    "writing_text",
]
