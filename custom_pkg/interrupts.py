"""Ctrl-C, SIGTERM and a closed terminal end a run cleanly."""

import signal
from types import FrameType


class StopRequest:
    """Turns SIGINT, SIGTERM or SIGHUP into a wish that the loop reads (`signum`); a second SIGINT stops at once.

    Use as a context manager. Where there is nothing to finish first, set `at_once`: the signal then raises
    KeyboardInterrupt.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

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
