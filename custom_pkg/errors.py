"""How a script ends: one clear line where the user can mend something, never a traceback; cleanly on a signal."""

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from custom_pkg.terminal import no_print_may_fail


class UserError(Exception):
    """Wrong use, or a wrong file. The message says what, where, and how to mend it."""

    status = 2


class RunFailed(Exception):
    """The run itself cannot go on (a loss that is not finite, a full disk). The message names what is safe."""

    status = 1


class DiskFailed(RunFailed):
    """A file could not be written. The message names it."""


class Interrupted(Exception):
    """The user or the system asked the run to end, by a signal; its work is saved."""

    def __init__(self, message: str, signum: int | None):
        super().__init__(message)
        self.status = 128 + (signum or signal.SIGINT)


class StopRequest:
    """Turns a signal into a wish that the loop reads (`signum`); a second SIGINT stops at once.

    SIGINT, SIGTERM and SIGHUP do so, and SIGUSR1, by which Slurm may tell a job that its time is nearly over. Use as a
    context manager. Where there is nothing to finish first, set `at_once`: the signal then raises KeyboardInterrupt.
    """

    NAMES = "SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"
    SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))

    def __init__(self):
        self.signum: int | None = None
        self.at_once = False

    def __enter__(self) -> "StopRequest":
        heard = [number for number in self.SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores some
        self._previous = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        second = self.signum is not None and signum == signal.SIGINT
        self.signum = signum
        if self.at_once or second:
            raise KeyboardInterrupt


def run_script(main: Callable[[], None]) -> None:
    """Run `main`, whatever becomes of what it prints, and exit: 0 when done, 2 on wrong use, 1 on a failed run,
    128 + signal on an interrupt.
    """
    no_print_may_fail()
    try:
        main()
    except (UserError, RunFailed, Interrupted) as error:
        sys.exit(fail(str(error), error.status))
    except KeyboardInterrupt:
        sys.exit(fail("interrupted", 130))
    except OSError as error:  # a full disk, a folder that became read-only
        sys.exit(fail(f"{disk_trouble(error)}; what was saved before is intact", 1))
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("(allocate|out of) memory", str(error)):
            raise  # torch's own lack of memory is a RuntimeError too
        sys.exit(fail(f"not enough memory ({first_line(error)}): give smaller sizes or batches", 1))


def fail(message: str, status: int) -> int:
    """Print the message as the script's last word on stderr and return the exit status."""
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)
    return status


def disk_trouble(error: OSError) -> str:
    """What went wrong, and with which file."""
    return f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"


def first_line(error: Exception) -> str:
    """What an exception says, short enough for a message; its type where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
