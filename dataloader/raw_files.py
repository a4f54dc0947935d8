"""The files of a data set: hashes, unpacking, and a folder that one process fills."""

import gzip
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from custom_pkg.files import lock, make_folder, remove_temporaries

# Of folders with unfinished downloads, so that what a killed run left behind can be told from data.
UNFINISHED = ".unfinished-"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content_of(path: Path, max_bytes: int) -> bytes:
    """A file's bytes, unpacked if they are packed with gzip, whatever it is called. Raises as `gunzip` does."""
    if path.stat().st_size > max_bytes or not path.is_file():
        raise ValueError("not a file, or too large a one")
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gunzip(path, max_bytes) if packed else path.read_bytes()


def remove_unfinished(folder: Path) -> None:
    """Remove what killed runs left in `folder`. Only the holder of the folder's lock may call this."""
    remove_temporaries(folder)
    for path in folder.glob(UNFINISHED + "*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:  # a file that older versions wrote
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold `folder`, made if need be, for this process alone; `on_wait` is called once if another process holds it.

    Afterwards the lock is gone, and so are the folders made for it that have stayed empty.
    """
    path, made = folder / ".lock", [place for place in (folder, *folder.parents) if not place.exists()]
    once = iter([on_wait])
    while True:
        make_folder(folder)
        with path.open("a+", encoding="utf-8") as file:
            lock(file, lambda holder: next(once, lambda: None)())
            if not _still_there(file, path):  # who held it has removed it
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    for place in made:
                        place.rmdir()
            return


def _still_there(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def gunzip(path: Path, max_bytes: int) -> bytes:
    """Unpack a .gz file.

    Raises ValueError if it is damaged or holds more than `max_bytes`, OSError if it cannot be read.
    """
    try:
        with gzip.open(path) as file:
            data = file.read(max_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"damaged .gz file ({error})") from error
    if len(data) > max_bytes:
        raise ValueError(f"unpacks to more than {max_bytes:,} bytes")
    return data
