"""Valid files made invalid, or strange: by bytes, and by the parts that their kinds consist of."""

import contextlib
import gzip
import io
import json
import math
import re
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import torch
import yaml

Files = dict[str, bytes]
"""The files of an input by name, with / between folders."""

LARGE = (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64, 10**12, 10**30)
NUMBERS = (0, 1, -1, 2, 7, 255, 256, 1000, 20_000, *LARGE, -(2**31), -(2**63))
FLOATS = (0.5, 1e-320, 1e-16, 1e16, 1e300, -1e300, math.nan, math.inf, -math.inf)
TEXTS = (
    "",
    "x",
    " ",
    "0",
    "-1",
    "nan",
    "1e999",
    "9" * 5000,
    "\x1b[31mred",
    "é\u2028",
    "~nosuchuser/x",
    "a" * 10_000,
    "../../x",
    "\0",
    "cuda",
    "scud.errors:UserError",
)
OTHERS = (None, True, False, [], {}, [[]], [1, 2, 3], [1.5], {"kind": "x"}, {"a": {"b": 1}})

_DESCRIPTIONS = (
    "|O", "<f8", "<f2", "<i8", "<u8", "|b1", "|V8", "<c16", "<m8", "<M8[s]", "<U1000000", "|S0", "|U4", ">i4", "x",
    "<f16", "[('a', '<i4')]",
)  # fmt: skip
_SHAPES = (
    (), (0,), (-1,), (1,) * 40, (10**12,), (2**63,), (10**30,), (0, 10**12), (2**32, 2**32), (3, -1), ("x",), (1.5,),
)  # fmt: skip
_SECTIONS = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")
_DEPTH = 3000


def mutated(files: Files, names: list[str], random: Random) -> Files:
    """Files of which one, mostly, or two, is changed, in one to three ways."""
    changed = dict(files)
    for name in random.sample(names, min(len(names), random.choice((1, 1, 1, 2)))):
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            # What was changed before may not be what the next way expects.
            with contextlib.suppress(Exception):
                changed[name] = _way(name, random)(changed[name], random)
    return changed


Way = Callable[[bytes, Random], bytes]


def _way(name: str, random: Random) -> Way:
    """How to change a file of such a name."""
    if random.random() < 0.3:
        return change_bytes
    for ending, ways in _WAYS.items():
        if name.endswith(ending):
            return random.choice(ways)
    return change_bytes


def change_bytes(content: bytes, random: Random) -> bytes:
    """Cut, flip, zero, repeat, splice, insert or replace bytes."""
    size = len(content)
    start = random.randrange(size + 1)
    end = min(size, start + random.choice((1, 2, 4, 8, 64, 1000)))
    way = random.randrange(9)
    if way == 0:
        return content[:start]
    if way == 1:
        return content[start:]
    if way == 2:
        data = bytearray(content)
        for _ in range(random.choice((1, 1, 2, 8, 64))):
            data[random.randrange(size)] ^= 1 << random.randrange(8)
        return bytes(data)
    if way == 3:
        return content[:start] + bytes(end - start) + content[end:]
    if way == 4:
        return content[:end] + content[start:end] * random.choice((1, 2, 100)) + content[end:]
    if way == 5:
        other = random.randrange(size + 1)
        return content[:start] + content[other : other + end - start] + content[end:]
    if way == 6:
        return content[:start] + content[end:]
    if way == 7:
        return content[:start] + random.randbytes(end - start) + content[end:]
    return random.choice((b"", b"\0", b"\xff" * 100, content + content, content[::-1]))


def change_text(content: bytes, random: Random) -> bytes:
    """Change numbers, lines or letters of a text."""
    way = random.randrange(6)
    if way <= 1:
        found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
        if found:
            place = random.choice(found)
            value = str(random.choice((*NUMBERS, *FLOATS, *TEXTS[:9]))).encode()
            return content[: place.start()] + value + content[place.end() :]
    lines = content.split(b"\n")
    line = random.randrange(len(lines))
    if way == 2:
        lines.insert(line, random.choice(lines))
    elif way == 3:
        del lines[line]
    elif way == 4:
        separator = random.choice((b",", b"\t", b" ", b'"', b"\r", b"\0", b">", b"\xff", b";"))
        place = random.randrange(len(lines[line]) + 1)
        lines[line] = lines[line][:place] + separator + lines[line][place:]
    else:
        lines[line] = random.choice(TEXTS).encode()
    return b"\n".join(lines)


def change_tree(tree: Any, random: Random, extra: tuple[Any, ...] = ()) -> Any:
    """Replace, remove, wrap or exchange a value somewhere in dictionaries and lists."""
    places = list(_places(tree))
    if not places:
        return random.choice(OTHERS)
    holder, key = random.choice(places)
    way = random.randrange(8)
    values = (NUMBERS, FLOATS, TEXTS, OTHERS, extra or NUMBERS)
    if way == 0:
        del holder[key]
    elif way == 1:
        other, name = random.choice(places)
        holder[key] = other[name]
    elif way == 2:
        holder[key] = [holder[key]] * random.choice((1, 2, 1000))
    elif way == 3 and isinstance(holder[key], int | float):
        holder[key] = holder[key] * random.choice((-1, 2, 10, 1000, 10**6, 0.5))
    elif way == 4 and isinstance(holder, dict):
        holder[random.choice(("x", "kind", "width", "tensors", ""))] = holder[key]
    else:
        holder[key] = random.choice(random.choice(values))
    return tree


def _places(tree: Any) -> Any:
    """Every (container, key) in a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def change_json(content: bytes, random: Random) -> bytes:
    """Change the values of JSON, or its text."""
    if random.random() < 0.15:
        return _strange_json(content, random)
    return json.dumps(change_tree(json.loads(content), random)).encode()


def _strange_json(content: bytes, random: Random) -> bytes:
    deep = b"[" * _DEPTH + b"]" * _DEPTH
    number = re.search(rb"\d+", content)
    return random.choice(
        (
            deep,
            b'{"a":' * _DEPTH + b"1" + b"}" * _DEPTH,
            content.replace(b"{", b"{" + content[1:].split(b",")[0] + b",", 1),
            content.replace(number[0] if number else b"{", b"1" * 5000, 1),
            content.decode().encode("utf-16"),
            b"\xef\xbb\xbf" + content,
        )
    )


def change_yaml(content: bytes, random: Random) -> bytes:
    """Change the values of YAML, or its text."""
    if random.random() < 0.7:
        return yaml.safe_dump(
            change_tree(yaml.safe_load(content), random), sort_keys=False
        ).encode()
    strange = (
        "2001-13-45", "!!int abc", "!!float zz", "!!bool zz", "!!timestamp zz", "[" * _DEPTH, "{a: " * 1500,
        "&a [*a]", "!!python/object/apply:os.system [ls]", "1" * 5000, "0x" + "f" * 5000, "? a", "*b", "!!set {a, b}",
        "!!binary xx", "&x [1,1,1,1,1,1,1,1,1], b: &y [*x,*x,*x,*x,*x,*x,*x,*x,*x]", "~nosuchuser/x", "1:30:30",
    )  # fmt: skip
    lines = content.decode().split("\n")
    line = random.randrange(len(lines))
    lines[line] = lines[line].partition(":")[0] + ": " + random.choice(strange)
    return "\n".join(lines).encode()


def change_npy(content: bytes, random: Random) -> bytes:
    """Change the header of an array, or its values."""
    if random.random() < 0.2:
        array = np.load(io.BytesIO(content), allow_pickle=False)
        values = array.astype(np.float64).ravel()
        values[random.randrange(len(values))] = random.choice((*NUMBERS[:9], *FLOATS))
        with np.errstate(all="ignore"):
            return npy(values.reshape(array.shape).astype(random.choice((array.dtype, np.float64))))
    size = struct.unpack("<H", content[8:10])[0]
    header, rest = content[10 : 10 + size].decode("latin-1"), content[10 + size :]
    way = random.randrange(4)
    if way == 0:
        header = re.sub(r"'shape': \([^)]*\)", f"'shape': {random.choice(_SHAPES)!r}", header)
    elif way == 1:
        header = re.sub(r"'descr': '[^']*'", f"'descr': {random.choice(_DESCRIPTIONS)!r}", header)
    elif way == 2:
        header = header.replace("False", random.choice(("True", "None", "0", "[")))
    else:
        strange = (
            "{" * 1000,
            "(" * 5000,
            "'",
            '"""',
            "{}",
            "1" * 5000,
            "lambda: 0",
            "\0",
            "{'a': 1",
            "é",
        )
        header = random.choice((*strange, header + "  # x", header * 2))
    encoded = header.encode("latin-1", "replace")
    version = content[6:8] if random.random() < 0.9 else bytes((random.randrange(5), 0))
    return content[:6] + version + struct.pack("<H", len(encoded) % 65536) + encoded + rest


def npy(array: Any) -> bytes:
    """An array as a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def change_members(content: bytes, random: Random) -> bytes:
    """Change, remove, rename or double a member of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    place = random.randrange(len(members))
    name, data = members[place]
    way = random.randrange(8)
    if way == 0:
        del members[place]
    elif way == 1:
        members.append((name, random.choice(members)[1]))
    elif way == 2:
        members[place] = random.choice(("x.npy", "", "../x.npy", name.removesuffix(".npy"))), data
    else:
        members[place] = name, (change_npy if name.endswith(".npy") else change_bytes)(data, random)
    file = io.BytesIO()
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def change_sections(content: bytes, random: Random) -> bytes:
    """Change a field of a header of a zip archive."""
    starts = [
        found.start() for mark in _SECTIONS for found in re.finditer(re.escape(mark), content)
    ]
    place = random.choice(starts) + random.randrange(4, 46)
    value = random.choice(
        (bytes(4), b"\xff" * 4, b"\x01\0\0\0", b"\0\0\0\x7f", random.randbytes(2))
    )
    return content[:place] + value + content[place + len(value) :]


def change_safetensors(content: bytes, random: Random) -> bytes:
    """Change the header of a safetensors file."""
    size = struct.unpack("<Q", content[:8])[0]
    header = change_json(content[8 : 8 + size], random)
    length = len(header) if random.random() < 0.9 else random.choice(LARGE[:5])
    return struct.pack("<Q", length) + header + content[8 + size :]


def change_checkpoint(content: bytes, random: Random) -> bytes:
    """Change a value in a checkpoint of PyTorch, which stays well-formed."""
    tree = torch.load(io.BytesIO(content), weights_only=True)
    tensors = (
        torch.zeros(()), torch.zeros(0), torch.zeros(3, 3), torch.full((5,), math.nan), torch.zeros(6, dtype=torch.int64),
        torch.ones(16, dtype=torch.bool), torch.zeros(2).to_sparse(), torch.ones(1).expand(1 << 40),
    )  # fmt: skip
    file = io.BytesIO()
    torch.save(change_tree(tree, random, tensors), file)
    return file.getvalue()


def within_gzip(content: bytes, random: Random) -> bytes:
    """Change what a gzip file holds."""
    return gzip.compress(change_text(gzip.decompress(content), random), 1)


_WAYS: dict[str, list[Way]] = {
    ".gz": [within_gzip, within_gzip, change_bytes],
    ".json": [change_json],
    ".yaml": [change_yaml],
    ".npy": [change_npy],
    ".npz": [change_members, change_members, change_sections],
    ".safetensors": [change_safetensors],
    ".ckpt": [change_checkpoint, change_checkpoint, change_checkpoint, change_sections],
    ".csv": [change_text],
    ".tsv": [change_text],
    ".fasta": [change_text],
    ".txt": [change_text],
}
