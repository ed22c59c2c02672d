"""Where libraries that commands use may keep what they make once: in the cache, as all else."""

import os

from scud.errors import UserError
from scud.files.cache import default_cache

NAMES = {"MPLCONFIGDIR": "matplotlib", "TORCHINDUCTOR_CACHE_DIR": "torch"}
"""Variables that name such a place, and the folders of the cache: for a list of fonts, and one that PyTorch makes at once."""


def settle() -> None:
    """Name these places for libraries that are not loaded yet; where there is no cache to write to, they choose their own."""
    try:
        cache = default_cache().absolute()
        cache.mkdir(parents=True, exist_ok=True)
    except (UserError, OSError):  # what needs the cache itself says so
        return
    if os.access(cache, os.W_OK):
        for name, folder in NAMES.items():
            os.environ.setdefault(name, str(cache / folder))
