"""Exit codes and error messages of every command, and tracebacks without secrets."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from affectgpt.problems import InputError, RunError
from affectgpt.redaction import guard_logs, without_secrets
from affectgpt.terminal import without_bars


def run(command: Callable[[list[str]], int], argv: list[str]) -> int:
    """Call a command and return its exit code; an expected error becomes a message instead of a traceback.

    2: bad input; 1: a run that cannot continue; 130 and 143: stopped by Ctrl-C or SIGTERM. Python prints the traceback
    of any other error, with secrets removed. Progress bars of libraries are silent: commands show their own.
    """
    guard_logs()
    sys.excepthook = _traceback
    try:
        with without_bars():
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
