"""Files: writing them whole or not at all, arrays and texts in pieces, and a cache of what was made of them."""

from scud.files.replacing import replacing

__all__ = ["replacing"]
