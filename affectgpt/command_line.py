"""Exit codes and error messages of every command, and tracebacks without secrets."""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from affectgpt.problems import InputError, RunError
from affectgpt.redaction import guard_logs, without_secrets
from affectgpt.terminal import without_bars


def run(command: Callable[[list[str]], int], argv: list[str]) -> int:
    """Call a command and return its exit code; an expected error becomes a message instead of a traceback.

    2: bad input; 1: a run that cannot continue; 130 and 143: stopped by Ctrl-C or SIGTERM; 141: nobody reads the output
    any more, as after `| head`. Python prints the traceback of any other error, with secrets removed. Progress bars of
    libraries are silent: commands show their own.
    """
    guard_logs()
    sys.excepthook = _traceback
    try:
        with without_bars():
            return command(argv)
    except BrokenPipeError:
        if not _is_unread(sys.stdout):
            raise
        return 128 + signal.SIGPIPE
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print("Interrupted.", file=sys.stderr)
        return 128 + int(error.args[0] if error.args else signal.SIGINT)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # Python would flush again at exit, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_unread(stream: TextIO) -> bool:
    """Tell whether a stream is a pipe whose reader has gone."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False


def _traceback(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
    print(without_secrets("".join(traceback.format_exception(kind, error, frames))), file=sys.stderr, end="")
