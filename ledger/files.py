"""Files that survive a crash: whoever opens one finds the old content or the new, never a half.

A write is a draft beside the file, fsync, rename, fsync of the folder. A crash leaves at most a draft,
whose name begins with a dot and which nobody reads.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace(path: Path, raw: bytes) -> None:
    """Write a file whole, in place of the one that is there; on disk when this returns."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        draft = Path(file.name)
        try:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                draft.unlink()
            raise
    sync(path.parent)


def create(path: Path, raw: bytes) -> None:
    """Write a file whole where none is; raises FileExistsError, and leaves the one that is there."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
        # A link is exclusive like O_EXCL, and a full disk leaves no half of a file behind.
        path.hardlink_to(file.name)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's own list of files, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
