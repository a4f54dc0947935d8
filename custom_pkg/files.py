"""Files that are there whole or not at all."""

import contextlib
import json
import os
from pathlib import Path

from custom_pkg.errors import RunFailed


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path`, flush it to disk, and rename: a kill leaves the old file.

    Raises RunFailed when that cannot be done, with the old file intact.
    """
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise RunFailed(f"cannot write {path} ({error.strerror}); what it held before is intact") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def link_atomically(source: Path, path: Path) -> None:
    """Make `path` the same file as `source` (a copy where the file system has no hard links)."""
    temporary = _temporary(path)
    try:
        os.link(source, temporary)
    except OSError:
        write_atomically(path, source.read_bytes())
        return
    try:
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise RunFailed(f"cannot write {path} ({error.strerror}); what it held before is intact") from None


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed process left half-written. Only the holder of the run's lock may call this."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write_json(path: Path, content: dict) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
