"""Maps a function over media files in worker processes that can be killed: one bad file costs one item, not the run."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from multiprocessing.connection import wait
from threading import Thread
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

from affectgpt.media.decode import MediaError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_sandboxed(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, timeout_s: float
) -> Iterator[tuple[Item, Result | MediaError]]:
    """Yield (item, function(item)) in the order of `items`, computed in `workers` processes.

    Items are drawn lazily, at most two per worker ahead of what was consumed. Closing the generator, or leaving it
    by an exception or Ctrl-C, kills the workers.

    Args:
        function: picklable, as is each item and each result.
        items: may be endless.
        workers: processes, 1 or more.
        timeout_s: seconds after which the process that works on an item is killed.

    Yields:
        The item and its result; a MediaError as the result where the function raised one, ran longer than
        `timeout_s`, or took its process down.

    Raises:
        Exception: whatever else the function raises; the remaining items are not computed.
    """
    # Not fork: the parent may hold threads of torch and CUDA, whose locks a forked child would inherit locked.
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPool(max_workers=workers, context=context, initializer=_die_with_parent)
    try:
        source = iter(items)
        ahead: deque[tuple[Item, Future[Result]]] = deque()
        while True:
            for item in islice(source, 2 * workers - len(ahead)):
                ahead.append((item, pool.schedule(function, args=[item], timeout=timeout_s)))
            if not ahead:
                return
            item, future = ahead.popleft()
            outcome = _outcome(future, item, timeout_s)
            yield item, outcome
    finally:
        pool.stop()
        pool.join()


def _die_with_parent() -> None:
    """In a worker: exit when the parent is gone, even killed, for nobody is left to end a hang."""
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
        return MediaError(f"{item}: not decoded within {timeout_s:g} s")
    except ProcessExpired as error:
        return MediaError(f"{item}: the process that decoded it died ({error})")
