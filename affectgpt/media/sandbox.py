"""Worker processes for media files that can be killed: one bad file costs one item, not the run."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from multiprocessing.util import get_temp_dir
from threading import Lock, Thread
from types import ModuleType
from typing import Any, TypeVar
from weakref import WeakSet

from pebble import ProcessExpired, ProcessPool

from affectgpt.media.decode import MediaError

SHORT_FOLDERS = ("/tmp", "/dev/shm", "/var/tmp")
"""Folders for the sockets of worker processes, where the path of the temporary folder is too long for a socket."""
_LONGEST_FOLDER = 70
"""Bytes of the path of a temporary folder: a socket's path has 107 at most, and Python adds 32."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Sandbox:
    """Worker processes that decode. They start with the first item and are killed by `close` or with their parent.

    Args:
        workers: number of processes, 1 or more.
        timeout_s: seconds after which the process that works on an item is killed.
    """

    def __init__(self, workers: int, timeout_s: float) -> None:
        self.workers, self.timeout_s = workers, timeout_s
        self._context = WorkerContext()
        self._pool = ProcessPool(max_workers=workers, context=self._context, initializer=die_with_parent)

    def schedule(self, function: Callable[[Item], Result], item: Item) -> Callable[[], Result | MediaError]:
        """Begin function(item) in a worker; return a function that waits for its outcome, see `map`."""
        future: Future[Result] = self._pool.schedule(function, args=[item], timeout=self.timeout_s)
        return partial(_outcome, future, item, self.timeout_s)

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | MediaError]]:
        """Yield (item, function(item)) in the order of `items`, which are drawn lazily, two per worker ahead.

        Args:
            function: picklable, as is each item and each result; from a module, not from the script that runs.
            items: any iterable, also an endless one.

        Yields:
            The item and its result; a MediaError as the result where the function raised one, ran longer than
            `timeout_s`, or took its process down.

        Raises:
            Exception: any other exception of the function; the remaining items are not computed.
        """
        source = iter(items)
        ahead: deque[tuple[Item, Callable[[], Result | MediaError]]] = deque()
        while True:
            for item in islice(source, 2 * self.workers - len(ahead)):
                ahead.append((item, self.schedule(function, item)))
            if not ahead:
                return
            item, outcome = ahead.popleft()
            yield item, outcome()

    def close(self) -> None:
        """Kill the worker processes."""
        self._pool.stop()
        # Before the pool destroys its locks: a worker that is still starting would print that it cannot find them.
        for worker in list(self._context.started):
            if worker.pid is not None:
                worker.kill()
        self._pool.join()


def map_sandboxed(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, timeout_s: float
) -> Iterator[tuple[Item, Result | MediaError]]:
    """Yield from `Sandbox.map` in a sandbox of its own, which closes with the generator, also on an error or Ctrl-C."""
    sandbox = Sandbox(workers, timeout_s)
    try:
        yield from sandbox.map(function, items)
    finally:
        sandbox.close()


_launching = Lock()


class _Worker(ForkServerProcess):
    """Worker that does not import the user's script first, as Python would: the script may lack a main guard."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        with _launching:
            script = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return ForkServerProcess._Popen(process_obj)
            finally:
                sys.modules["__main__"] = script


class WorkerContext(ForkServerContext):
    """Start method of one pool's processes, which it keeps a list of.

    It does not fork: the parent may have threads, of torch or CUDA, whose locks a forked child would inherit locked.
    """

    def __init__(self) -> None:
        super().__init__()
        _settle_sockets()
        self.started: WeakSet[_Worker] = WeakSet()

    def Process(self, *args: Any, **kwargs: Any) -> _Worker:  # type: ignore[override]
        """Create a worker of this context."""
        worker = _Worker(*args, **kwargs)
        self.started.add(worker)
        return worker


def socket_folder() -> str | None:
    """Return the folder in which worker processes can have their sockets: the temporary one unless its path is too
    long; None if there is none.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= _LONGEST_FOLDER:
        return usual
    return next((folder for folder in SHORT_FOLDERS if os.access(folder, os.W_OK | os.X_OK)), None)


def _settle_sockets() -> None:
    """Make multiprocessing's folder for sockets, once per process, where their paths are short enough.

    Raises:
        OSError: there is no such folder.
    """
    folder, usual = socket_folder(), tempfile.tempdir
    if folder is None:
        short = ", ".join(SHORT_FOLDERS)
        raise OSError(
            f"TMPDIR={tempfile.gettempdir()} is too long for sockets. Set a shorter one, or make one of {short}"
        )
    try:
        tempfile.tempdir = folder
        get_temp_dir()
    finally:
        tempfile.tempdir = usual


def die_with_parent() -> None:
    """Make a worker exit when its parent is gone, even killed, since no process is left to end a hang."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            wait([sentinel])
            os._exit(1)

        Thread(target=watch, daemon=True).start()


def _outcome(future: Future[Result], item: object, timeout_s: float) -> Result | MediaError:
    try:
        return future.result()
    except MediaError as error:
        return error
    except TimeoutError:
        return MediaError(
            f"{_name_of(item)}: not decoded within {timeout_s:g} s. Allow more seconds (data.decode_timeout_s in a "
            "recipe), or cut the file into clips."
        )
    except ProcessExpired as error:
        return MediaError(
            f"{_name_of(item)}: the process that decoded it died ({error}). Convert the file, or leave it out; if many "
            "die, there is too little memory for so many at once."
        )


def _name_of(item: object) -> str:
    """Return the files of a clip; other items as they are."""
    files = getattr(item, "files", None)
    return ", ".join(map(str, files())) if callable(files) else str(item)
