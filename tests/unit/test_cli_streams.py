"""What a command prints never costs its result: readers that leave, full disks, small alphabets, control characters."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scud.cli.figures import print_table
from scud.cli.options import say
from scud.cli.streams import UNREAD, UNWRITTEN, Outlet

PROGRAM = r"""
import sys
from scud.cli import COMMANDS, main
COMMANDS["text"] = "with letters: \u2265 \u00b1 \udcff"
status = main(["--help"])
print("done", file=sys.stderr)
sys.exit(status)
"""


def run(stdout: int, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`scud --help`, into a file descriptor."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def test_a_reader_that_leaves_is_told_by_the_status_alone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (UNREAD, b"done\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(full.fileno())
    assert done.returncode == UNWRITTEN
    assert done.stderr.decode().splitlines() == [
        "scud: not all of the output could be printed (No space left on device)",
        "done",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_an_encoding_lacks_are_written_as_escapes(encoding: str) -> None:
    done = run(subprocess.PIPE, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"done\n")
    expected = "with letters: \u2265 \u00b1 \udcff".encode(encoding, "backslashreplace")
    assert expected in done.stdout


def test_a_pipe_that_does_not_wait_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data, got = bytes(1 << 18), bytearray()

    def read() -> None:
        while part := os.read(reading, 1 << 14):
            got.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    outlet, start = Outlet(writing), 0
    while start < len(data):
        start += outlet.write(data[start:])
    os.close(writing)
    reader.join(10)
    os.close(reading)
    assert len(got) == len(data)
    assert outlet.error is None


def test_names_in_tables_and_lines_do_nothing_to_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "a\x1b]0;x\x07\x9b2J[bold]b\r\u202e"
    say(f"wrote {name}")
    print_table(["name", name], [(name, 1), ("n" * 10_000, 2)])
    printed = capsys.readouterr().out
    assert all(letter.isprintable() or letter == "\n" for letter in printed)
    assert "wrote a\\x1b]0;x" in printed
    assert "[bold]" in printed
    assert len(printed) < 4000


@pytest.mark.parametrize("columns", ["0", "1", "abc", "40"])
def test_tables_are_shown_on_terminals_of_any_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "dumb")
    print_table(["name"], [("first",)])
    assert "first" in capsys.readouterr().out
