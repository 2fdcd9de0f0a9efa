"""Upload of files to a repository of the Hub in one commit; passing failures are retried, lasting ones are explained.

The commit is the last request, so that half a model is never visible. What has already arrived is not sent again: the
Hub knows files, and parts of files where it stores them with Xet, by their hashes.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.utils import logging
from huggingface_hub.utils._http import default_client_factory

from affectgpt.problems import InputError, Problem, RunError, shorten
from train.config.hub_names import name_flaw

TRIES = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0
"""Seconds between tries; each wait is twice the one before. Within a try, the client repeats a request for 23 s."""
TIMEOUT_S = 120.0
"""Seconds for one answer of the server, or for one part of a file. The client by itself would wait for ever."""
OURS = ("*.safetensors", "*.safetensors.index.json", "*config.json", "*.jinja", "metrics.json", "versions.json")
OUR_FOLDERS = ("base", "vision", "audio")
"""Folders from which an upload deletes the files that it does not replace; all other files are kept."""
LOG_IN = "Log in with: hf auth login (or set HF_TOKEN) with a token that may write."

_PASSING = (408, 409, 412, 425, 429)
"""Statuses below 500 after which another try may succeed."""
_XET_STATUS = re.compile(r"HTTP status client error \((\d{3})")
"""Status that a server of Xet storage answered, in the text of its client's errors."""
_TOKEN = re.compile(r"hf_\w+")
_QUERY = re.compile(r"(?<=\w)\?\S+")
"""Query of a URL; it holds the signatures of the storage."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Commit that an upload made, and its URL; whether the repository is private."""

    url: str
    commit: str
    private: bool = False


def require_access() -> None:
    """Refuse, before any work, an upload that cannot reach the Hub.

    Raises:
        InputError: the offline mode is on, or nobody is logged in.
    """
    if huggingface_hub.is_offline_mode():
        raise InputError(
            "HF_HUB_OFFLINE: expected 0 or not set, to send something to the Hub; it is set. Unset HF_HUB_OFFLINE "
            "(and TRANSFORMERS_OFFLINE), and run the same command again."
        )
    if not huggingface_hub.get_token():
        raise InputError(f"Hub: expected a login, found none. {LOG_IN}")


def send(
    repo: str,
    files: Mapping[str, Path | bytes],
    message: str,
    private: bool = False,
    say: Callable[[str], object] = lambda text: None,
) -> Sent:
    """Make `files` the content of a repository, which is created if it does not exist.

    Args:
        files: local path or content of each file, by its path in the repository.
        message: message of the commit.
        private: create a private repository; one that exists must be private then.
        say: called with a sentence for each failure that is followed by another try.

    Raises:
        InputError: a name, login or permission is missing.
        RunError: the upload failed for good, or too often.
    """
    if flaw := name_flaw(repo):
        raise InputError(f"repository: {flaw}")
    require_access()
    huggingface_hub.set_client_factory(_client)
    logging.set_verbosity_error()  # its warnings show addresses that are signed
    wait = FIRST_WAIT_S
    for attempt in range(1, TRIES + 1):
        try:
            return _send_once(repo, files, message, private)
        except Exception as error:
            refusal = _refusal(error, repo)
            if refusal is not None:
                raise refusal from None  # the client's own errors show addresses that are signed
            failure = _described(error)
        if attempt < TRIES:
            say(f"{repo}: try {attempt} of {TRIES} failed: {failure}. The next one in {wait:.0f} s.")
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)
    raise RunError(
        f"{repo}: the upload failed {TRIES} times, at last with: {failure}. Nothing is lost: run the same "
        "command to send the rest."
    )


def _send_once(repo: str, files: Mapping[str, Path | bytes], message: str, private: bool) -> Sent:
    api = HfApi()
    api.create_repo(repo, private=private or None, exist_ok=True)
    before = api.model_info(repo)
    if private and before.private is False:
        raise InputError(
            f"{repo}: expected a private repository, it is public. Nothing was sent. Make it private in its settings, "
            "or name another."
        )
    stale = [item.rfilename for item in before.siblings or [] if _is_stale(item.rfilename, files)]
    commit = api.create_commit(
        repo,
        [
            *(CommitOperationAdd(name, content) for name, content in files.items()),
            *(CommitOperationDelete(name) for name in stale),
        ],
        commit_message=message,
        parent_commit=before.sha,  # what was found there is what is changed, else the Hub refuses
    )
    return Sent(f"{api.endpoint}/{repo}", commit.oid, bool(before.private))


def _is_stale(name: str, files: Mapping[str, Path | bytes]) -> bool:
    folder, _, file = name.rpartition("/")
    ours = folder in OUR_FOLDERS or (not folder and any(fnmatchcase(file, kind) for kind in OURS))
    return ours and name not in files


def _client() -> Any:
    client = default_client_factory()
    client.timeout = TIMEOUT_S
    return client


def _refusal(error: Exception, repo: str) -> Exception | None:
    """Return the error that explains a failure to the user; None where another try may succeed."""
    if isinstance(error, InputError):
        return error
    # RuntimeError: what the client makes of a failed file, and Xet of what it cannot name.
    passing = (HTTPError, ConnectionError, TimeoutError, json.JSONDecodeError, RuntimeError)
    chain = list(_chain(error))
    answered = next((item for item in chain if isinstance(item, HfHubHTTPError)), None)
    if answered is None:
        if any(isinstance(item, passing) for item in chain):
            return _refusal_of_xet(str(chain[-1]), repo, _described(error))
        # ValueError: how the client passes on what the storage or the check of the card says.
        return RunError(_refused(error, repo)) if isinstance(error, ValueError) else error
    status, got = answered.response.status_code, _described(error)
    if answered.response.request.method == "PUT" and status == 403:
        return None  # a signed address of the storage ran out; the next try gets new ones
    if status in _PASSING or status >= 500:
        return None
    if status == 401:
        return InputError(Problem(repo, "the Hub", "a login that is valid", got, LOG_IN))
    if status == 403:
        return InputError(Problem(repo, "the Hub", "a login that may write there", got, f"Name your own. {LOG_IN}"))
    if status == 404:
        fix = f"Check the name; a private repository is visible only to those with access. {LOG_IN}"
        return InputError(Problem(repo, "the Hub", "a repository", got, fix))
    return RunError(_refused(error, repo))


def _refusal_of_xet(text: str, repo: str, got: str) -> Exception | None:
    """Return the error that explains what a server of Xet storage refused; None where another try may succeed."""
    status = _XET_STATUS.search(text)
    if status is None or int(status[1]) in _PASSING:
        return None
    if status[1] == "404":
        fix = "Where the server has none: set HF_HUB_DISABLE_XET=1, and run the same command again."
        return InputError(Problem(repo, "the Hub", "a server with Xet storage", got, fix))
    if status[1] in ("401", "403") and "xet-write-token" in text:
        return InputError(Problem(repo, "the Hub", "a login that may write there", got, f"Name your own. {LOG_IN}"))
    return None  # a signed address of the storage ran out; the next try gets new ones


def _refused(error: Exception, repo: str) -> str:
    return f"{repo}: the Hub refused the upload: {_described(error)}. Correct that and run the same command again."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _described(error: BaseException) -> str:
    """Return the text of an error without tokens and signatures."""
    root = list(_chain(error))[-1]
    answered = next((item for item in _chain(error) if isinstance(item, HfHubHTTPError)), None)
    if answered is not None:
        text = f"HTTP {answered.response.status_code}"
        if said := answered.server_message:
            text += f", {shorten(said, 300)}"
    else:
        text = f"{type(root).__name__}: {root}" if str(root) else type(root).__name__
    text = _QUERY.sub("", _TOKEN.sub("***", text.replace(huggingface_hub.get_token() or "\0", "***")))
    return " ".join(text.split()).rstrip(".")
