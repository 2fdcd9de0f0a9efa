"""Client of a chat model behind an OpenAI-compatible URL; several requests run at a time.

The token comes from an environment variable, goes to that one host in a header, and is written nowhere: not into
settings, errors or logs.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from affectgpt.problems import InputError, Problem, shorten
from affectgpt.redaction import without

TOKEN_VARIABLE = "AFFECTGPT_LLM_TOKEN"
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LONGEST_REPLY = 10_000_000
_LONGEST_PAUSE = 30.0


class ChatEndpoint:
    """Client of a chat model, with greedy decoding.

    Args:
        url: base URL, without `/chat/completions`.
        model: the server's name of the model.
        timeout: seconds to wait for an answer.
        attempts: most attempts of a request that fails with a temporary error.
        pause: seconds before the second attempt; each further pause is twice as long.

    Raises:
        InputError: the URL or the token cannot be used.
    """

    def __init__(
        self,
        url: str,
        model: str,
        max_tokens: int = 128,
        timeout: float = 120.0,
        attempts: int = 4,
        workers: int = 8,
        pause: float = 0.5,
    ) -> None:
        if not _is_plain(url):
            fix = f"A token belongs into the environment variable {TOKEN_VARIABLE}."
            got = "one that is not, or that has a user, a password, a query or a fragment"
            raise InputError(Problem("LLM", "url", "one like http://localhost:8000/v1", got, fix))
        self.url = url.rstrip("/").removesuffix("/chat/completions")
        self.model = model
        self._fixed = {"model": model, "max_tokens": max_tokens, "temperature": 0}
        self._timeout, self._attempts, self._workers, self._pause = timeout, attempts, workers, pause
        self._token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not all("!" <= character <= "~" for character in self._token):
            fix = "Set it again, without spaces or line breaks."
            raise InputError(Problem(TOKEN_VARIABLE, "its value", "a token", "characters no token has", fix))

    def complete(self, prompts: Sequence[str]) -> list[str]:
        """Return the answer to each prompt, in their order.

        Raises:
            InputError: the server refuses, or keeps failing after every attempt.
        """
        pool = ThreadPoolExecutor(self._workers)
        try:
            return list(pool.map(self._ask, prompts))
        finally:
            pool.shutdown(cancel_futures=True)

    def _ask(self, prompt: str) -> str:
        failure = ""
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(min(self._pause * 2 ** (attempt - 1), _LONGEST_PAUSE))
            try:
                with _OPENER.open(self._request(prompt), timeout=self._timeout) as reply:
                    return _content(self._read(reply))
            except urllib.error.HTTPError as error:
                with error:
                    failure = f"HTTP {error.code} {shorten(self._read(error))}"
                if error.code not in _PASSING:
                    raise self._problem(failure, _remedy(error.code)) from None
            except TimeoutError:
                failure = f"no answer within {self._timeout:g} s"
            except (OSError, http.client.HTTPException, ValueError) as error:
                failure = shorten(without(str(getattr(error, "reason", error)), self._token), 200)
        failure += f", {self._attempts} times" if self._attempts > 1 else ""
        raise self._problem(failure, "See whether the server is up and serves this model; what is cached is kept.")

    def _request(self, prompt: str) -> urllib.request.Request:
        body = json.dumps({**self._fixed, "messages": [{"role": "user", "content": prompt}]}).encode()
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return urllib.request.Request(f"{self.url}/chat/completions", body, headers)

    def _read(self, reply: Any) -> str:
        """Read a server's reply, with the token removed before any shortening: a server may echo what it was sent."""
        return without(reply.read(_LONGEST_REPLY).decode("utf-8", "replace"), self._token)

    def _problem(self, got: str, fix: str) -> InputError:
        return InputError(Problem(self.url, f"model {self.model}", "an answer", got, fix))


def _is_plain(url: str) -> bool:
    """Tell whether a URL is HTTP or HTTPS with a host, and without any part that could be secret."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    secret = "@" in parts.netloc or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not secret


def _content(reply: str) -> str:
    """Return the text in a server's reply; raise ValueError if there is none."""
    try:
        content = json.loads(reply)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        content = None
    if not isinstance(content, str):
        raise ValueError(f"a reply without choices[0].message.content: {shorten(reply[:200])}")
    return content


def _remedy(status: int) -> str:
    if status in (401, 403):
        return f"Put a token that is valid there into the environment variable {TOKEN_VARIABLE}."
    if 300 <= status < 400:
        return "Give the URL that it leads to; redirects are not followed, since they would take the token along."
    return "Compare URL and model name with what the server offers (GET /models)."


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect: urllib would send the token to its target."""


_OPENER = urllib.request.build_opener(_NoRedirects)
