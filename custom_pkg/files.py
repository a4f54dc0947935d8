"""Files that are there whole or not at all, and locks between processes."""

import contextlib
import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import IO, TextIO

from custom_pkg.errors import DiskFailed, UserError

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None
BEAT = 10.0  # seconds
MAX_JSON_BYTES = 16 * 2**20  # config.json and evaluations have a few kB


def write_atomically(path: Path, content: bytes, *, keep: Path | None = None) -> None:
    """As `replace_file`, but raises DiskFailed."""
    try:
        replace_file(path, content, keep=keep)
    except OSError as error:
        raise _failed(path, error) from None


def replace_file(path: Path, content: bytes, *, keep: Path | None = None) -> None:
    """Write to a temporary file beside `path`, flush it to disk, and rename: a kill leaves the old file.

    keep: another name for the old file, which it gets once the new one is on disk.
    Raises OSError when that cannot be done, with the old file intact.
    """
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep and path.exists():
            link_atomically(path, keep)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        _remove(temporary)


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
        raise _failed(path, error) from None
    finally:
        _remove(temporary)  # it stays when both are the same file already: a rename is then nothing at all


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed process left half-written. Only the holder of the folder's lock may call this."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _remove(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def _failed(path: Path, error: OSError) -> DiskFailed:
    return DiskFailed(f"cannot write {path} ({error.strerror}); what it held before is intact")


def write_json(path: Path, content: dict) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises UserError, whatever the file holds."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__})") from None
    return content


def write_through(file: FileIO, content: bytes) -> None:
    """Write all of it, unbuffered; a nearly full disk takes a part first. Raises OSError with the file's name."""
    left = memoryview(content)
    try:
        while left:
            left = left[file.write(left):]
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file.name)) from None


def make_folder(path: Path) -> None:
    """With the folders that it lies in. Raises OSError, which names a link to what is not there."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise FileNotFoundError(errno.ENOENT, f"a link to {os.readlink(place)}, which is not there", str(place))
    path.mkdir(parents=True, exist_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk. Raises OSError with its name."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # which Windows does not flush
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)


def lock(file: TextIO, taken: Callable[[str], None]) -> None:
    """Lock an open file ("a+") for this process. The kernel frees it when the file is closed or the process dies.

    taken: called with what the file says when another process has the lock; if it returns, that one is waited for.
    A process that only looks whether it is locked has it for a moment, and is none.
    """
    for _ in range(5):
        if try_lock(file):
            return
        time.sleep(0.05)
    file.seek(0)
    taken(file.read().strip())
    while not try_lock(file):
        time.sleep(0.05)


@contextlib.contextmanager
def beating(path: Path) -> Iterator[None]:
    """Renew a file's time every BEAT seconds: the sign of life of its holder for `is_beating`, on any file system."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_beating(path: Path) -> bool:
    """Whether another node's process is at it. Takes three beats to say no; no clocks of two nodes are compared."""

    def renewed() -> int:
        with open(path, "rb") as file:  # opened anew, for NFS to ask its server
            return os.fstat(file.fileno()).st_mtime_ns

    before, end = renewed(), time.monotonic() + 3 * BEAT
    while time.monotonic() < end:
        time.sleep(BEAT / 5)
        if renewed() != before:
            return True
    return False


def try_lock(file: IO) -> bool:
    """Lock an open file for this process, as `lock` does, or return False where another process has the lock."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:  # a byte far behind what is written, so that others can read that
            os.lseek(file.fileno(), 2**30, os.SEEK_SET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Read a file of a folder, change it and write it, while others that do so wait; leaves nothing behind.

    Where the file system or Windows cannot lock a folder, nobody waits.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
