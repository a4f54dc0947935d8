"""Ways to get files that more than one data set uses: from a folder and from a web server."""

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from dataloader.image_dataset import DatasetError
from dataloader.raw_files import content_of, gunzip

MAX_RAW_BYTES = 64 * 2**20  # the largest raw file of the MNIST family has 47 MB, the archive of dSprites 26 MB


def gz_files_in(folder: Path, names: Sequence[str], scratch: Path) -> Iterator[tuple[str, bytes]]:
    """Unpack `<name>.gz` of `folder`. Raises DatasetError at the end if some could not be unpacked."""
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    failures = []
    for name in names:
        path = folder / f"{name}.gz"
        try:
            data = content_of(path, MAX_RAW_BYTES)
        except FileNotFoundError:
            failures.append(f"{path} is not there")
        except (OSError, ValueError) as error:
            failures.append(f"{path}: {error}")
        else:
            yield name, data
    if failures:
        raise DatasetError("; ".join(failures))


def gz_files_from(
    mirror: str, names: Sequence[str], scratch: Path, timeout: float = 10
) -> Iterator[tuple[str, bytes]]:
    """Download and unpack `<name>.gz` from a mirror's address; a silence of `timeout` seconds ends it.

    Raises DatasetError at the first file that does not come: a dead mirror is not asked four times.
    """
    for name in names:
        packed = scratch / f"{name}.gz"
        download(f"{mirror}{name}.gz", packed, timeout)
        try:
            data = gunzip(packed, MAX_RAW_BYTES)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{name}.gz: {error}") from error
        yield name, data


def files_from(
    mirror: str, max_bytes: int, names: Sequence[str], scratch: Path, timeout: float = 10
) -> Iterator[tuple[str, bytes]]:
    """Download files as they are, none larger than `max_bytes`; otherwise like gz_files_from."""
    for name in names:
        download(f"{mirror}{urllib.parse.quote(name)}", scratch / name, timeout, max_bytes)
        yield name, (scratch / name).read_bytes()


def download(url: str, path: Path, timeout: float = 10, max_bytes: int = MAX_RAW_BYTES) -> None:
    """Download a file, of at most max_bytes; a silence of `timeout` seconds ends it.

    Raises DatasetError with a short reason; what has come by then is left at `path`.
    """
    try:
        _stream(url, path, timeout, max_bytes)
    except urllib.error.HTTPError as error:  # first: it is an URLError, which is an OSError
        raise DatasetError(f"{path.name}: HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DatasetError(f"{path.name}: {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DatasetError(f"{path.name}: {error}") from error


def _stream(url: str, path: Path, timeout: float, max_bytes: int, longest: float = 600) -> None:
    give_up = time.monotonic() + longest  # `timeout` alone lets a server drip a byte at a time for ever
    with urllib.request.urlopen(url, timeout=timeout) as response, path.open("wb") as file:
        total = int(response.headers.get("Content-Length", 0)) or None
        # disable=None: no bar unless standard error is a terminal
        with tqdm(total=total, unit="B", unit_scale=True, desc=path.name, leave=False, disable=None) as bar:
            while chunk := response.read(2**16):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > max_bytes:
                    raise ValueError("larger than any file of this data set")
                if time.monotonic() > give_up:
                    raise ValueError(f"not there after {longest:.0f} s")
