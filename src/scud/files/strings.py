"""Text in arrays: what numpy keeps as text may hold numbers that are no characters."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.errors import fail


def text_of(array: NDArray[Any], argument: str, remedy: str) -> str:
    """The text that an array of one text holds.

    Args:
        array: of shape [].
        argument: what to call it in messages.
        remedy: what to do where it is something else.

    Raises:
        UserError: it is no text, or one of its numbers is no character of Unicode.
    """
    if array.dtype.kind != "U" or array.ndim:
        raise fail(argument, "be one text", f"{array.dtype} of shape {list(array.shape)}", remedy)
    codes = np.frombuffer(array.astype(array.dtype.newbyteorder("<")).tobytes(), dtype="<u4")
    wrong = (codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))
    if wrong.any():
        raise fail(argument, "be characters of Unicode", f"{codes[wrong][0]:#x}", remedy)
    return str(array)
