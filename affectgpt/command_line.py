"""How every command ends: exit codes, messages, and tracebacks without secrets."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from affectgpt.problems import InputError, RunError
from affectgpt.redaction import guard_logs, without_secrets


def run(command: Callable[[list[str]], int], argv: list[str]) -> int:
    """Call a command; what ends it early ends it with a message and an exit code instead of a traceback.

    2: bad input; 1: a run that cannot go on; 130 and 143: stopped by Ctrl-C or SIGTERM. A traceback is left to Python,
    without secrets.
    """
    guard_logs()
    sys.excepthook = _traceback
    try:
        return command(argv)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print("Interrupted.", file=sys.stderr)
        return 128 + int(error.args[0] if error.args else signal.SIGINT)


def _traceback(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
    print(without_secrets("".join(traceback.format_exception(kind, error, frames))), file=sys.stderr, end="")
