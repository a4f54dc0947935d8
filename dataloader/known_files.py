"""Files with known SHA-256s and several ways to get them into a folder.

Whatever way a file came, it is used only if its hash is right.
"""

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from custom_pkg.files import replace_file
from dataloader.image_dataset import DatasetError
from dataloader.raw_files import UNFINISHED, content_of, locked, remove_unfinished, sha256_of
from dataloader.ways import MAX_RAW_BYTES, gz_files_in


@dataclass(frozen=True)
class Way:
    """One way to get raw files.

    fetch: (file names wanted, folder to work in) -> pairs of file name and raw bytes. It may yield some of
        the files and then raise DatasetError with a short reason. What it yields is checked by the caller.
    """

    name: str
    fetch: Callable[[Sequence[str], Path], Iterable[tuple[str, bytes]]]


@dataclass(frozen=True)
class KnownFiles:
    """The files of a data set: `name` is the data set's, `sha256` maps the names of its files to hashes.

    root: where to look for files in other layouts, if anywhere.
    """

    name: str
    sha256: dict[str, str]
    ways: tuple[Way, ...]
    root: Path | None = None

    def find(self, folder: Path, report: Callable[[str], None] = print) -> tuple[dict[str, Path], str]:
        """Where the files are, and where they came from in plain words: `folder`, or wherever below `root` they lie.

        Intact files in another layout or under another name, .gz or not, are read where they are; otherwise `folder`
        is filled. Raises DatasetError, as `prepare` does.
        """
        in_folder = {name: folder / name for name in self.sha256}
        with suppress(OSError):
            if self.root and (problems := self._unusable(folder)):
                found = {name: path for path in self._candidates(self.root, folder) if (name := self._name_of(path))}
                packed = all(found.get(name) == folder / f"{name}.gz" for name in problems)  # `prepare` unpacks them
                if found.keys() == self.sha256.keys() and not (packed and os.access(folder, os.W_OK)):
                    places = sorted({str(path.parent) for path in found.values()})
                    return found, f"files in {' and '.join(places)}"
        return in_folder, self.prepare(folder, report)

    def prepare(self, folder: Path, report: Callable[[str], None] = print) -> str:
        """Make sure that `folder` holds the files intact; returns where they came from, in plain words.

        Raises DatasetError if no way gives them or the folder cannot be used.
        """
        try:
            # Files that are ready need no lock, and so may lie in a folder that cannot be written.
            problems = self._unusable(folder)
            if not problems:
                return f"files in {folder}"
            for name, problem in problems.items():
                if (folder / name).is_dir():
                    raise IsADirectoryError(errno.EISDIR, f"{name} is a folder where a file is needed")
                if problem == "damaged":
                    report(f"{self.name}: {folder / name} is damaged (wrong SHA-256) and must be replaced")
            with locked(folder, lambda: report(f"{self.name}: waiting for another process to fill {folder}")):
                remove_unfinished(folder)
                return self._fill(folder, report)
        except OSError as error:
            reason = error.strerror or error
            raise DatasetError(
                f"{self.name}: cannot use {folder} ({reason}); choose another data root or mend this one"
            ) from error

    def _candidates(self, root: Path, folder: Path) -> list[Path]:
        """What is called about like one of the files, below `root` in the layouts of other projects, or beside other
        data; a folder of such a name, as some programs unpack into, is looked into.
        """
        names = tuple(map(_squeezed, self.sha256))
        inner = [place for place in _content(root) if place.is_dir()]
        places = dict.fromkeys((root, *inner, *(place / "raw" for place in inner), folder))
        called = [path for place in places for path in _content(place) if _squeezed(path.name).startswith(names)]
        return [file for path in called for file in (_content(path) if path.is_dir() else [path])]

    def _name_of(self, path: Path) -> str | None:
        """Which of the files it is, by its content, whatever it is called; None for none of them."""
        with suppress(OSError, ValueError):
            found = hashlib.sha256(content_of(path, MAX_RAW_BYTES)).hexdigest()
            return next((name for name, wanted in self.sha256.items() if wanted == found), None)

    def _unusable(self, folder: Path) -> dict[str, str]:
        """File name -> what is wrong with it, for those that cannot be used."""
        problems = {}
        for name, wanted in self.sha256.items():
            if not (folder / name).is_file():
                problems[name] = "missing"
            elif sha256_of(folder / name) != wanted:
                problems[name] = "damaged"
        return problems

    def _fill(self, folder: Path, report: Callable[[str], None]) -> str:
        problems = self._unusable(folder)
        origins = {name: f"files in {folder}" for name in self.sha256 if name not in problems}
        failures = []
        for way in self._ways(folder, problems):
            wanted = [name for name in problems if name not in origins]
            if not wanted:
                break
            report(f"{self.name}: trying {way.name}")
            reasons = []
            with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as scratch:
                try:
                    for name, data in way.fetch(wanted, Path(scratch)):
                        if hashlib.sha256(data).hexdigest() == self.sha256[name]:
                            self._put(folder / name, data, report)
                            origins[name] = way.name
                        else:
                            reasons.append(f"{name} has the wrong SHA-256")
                except DatasetError as error:
                    reasons.append(str(error))
            if reasons:
                failures.append(f"{way.name}: {'; '.join(reasons)}")
                report(f"{self.name}: failed, {failures[-1]}")

        lacking = {name: problem for name, problem in problems.items() if name not in origins}
        if lacking:
            raise DatasetError(self._all_failed(folder, lacking, failures))
        report(f"{self.name}: {folder} is complete")
        return _in_words(origins)

    def _put(self, path: Path, data: bytes, report: Callable[[str], None]) -> None:
        """Write a file. What is there and not cut short, like that of another data set, is kept beside it."""
        kept = path.with_name(f"{path.name}.replaced") if path.is_file() and path.stat().st_size >= len(data) else None
        replace_file(path, data, keep=kept)
        if kept:
            report(f"{self.name}: what was in {path} is kept as {kept.name}")

    def _ways(self, folder: Path, wanted: Iterable[str]) -> list[Way]:
        # Only the .gz files that are there: that the others are not is no failure.
        by_hand = [name for name in wanted if (folder / f"{name}.gz").exists()]
        unpack = Way(f".gz files in {folder}", lambda _, scratch: gz_files_in(folder, by_hand, scratch))
        return [unpack, *self.ways] if by_hand else [*self.ways]

    def _all_failed(self, folder: Path, lacking: dict[str, str], failures: Sequence[str]) -> str:
        return "\n".join([
            f"{self.name}: every way to get the data failed.",
            *(f"  {number}. {failure}" for number, failure in enumerate(failures, start=1)),
            *self._seen(folder),
            f"To mend it by hand, put these files (as they are, or as .gz) into {folder}:",
            *(f"  {name}  ({problem}; SHA-256 {self.sha256[name]})" for name, problem in lacking.items()),
        ])

    def _seen(self, folder: Path) -> list[str]:
        if not self.root:
            return []
        with suppress(OSError):
            if wrong := [str(path) for path in self._candidates(self.root, folder) if not self._name_of(path)]:
                return [f"Seen, but damaged or of another data set: {', '.join(wrong)}"]
        return [f"No other file of such a name was seen in {self.root.absolute()}."]


def _content(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it is none, or may not be read."""
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))  # those are unfinished
    return []


def _squeezed(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _in_words(origins: dict[str, str]) -> str:
    by_origin: dict[str, list[str]] = {}
    for name, origin in origins.items():
        by_origin.setdefault(origin, []).append(name)
    if len(by_origin) == 1:
        return next(iter(by_origin))
    return "; ".join(f"{origin} ({', '.join(names)})" for origin, names in by_origin.items())
