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
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from affectgpt.problems import InputError, Problem, shorten
from affectgpt.redaction import without

TOKEN_VARIABLE = "AFFECTGPT_LLM_TOKEN"
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_UNKNOWN_REQUEST = frozenset({400, 404, 405, 422, 501})
"""Statuses by which servers say that they do not know a path or a parameter."""
_LONGEST_REPLY = 10_000_000
_LONGEST_PAUSE = 30.0
_COMPARED = 40
"""Characters at the end of a scored text by which its tokens are found in a server's reply."""
Turn = dict[str, str]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply of a chat model."""

    text: str
    complete: bool
    """Whether the model ended it itself, within the token limit."""


class Refusal(InputError):
    """Error of a request that a server refuses, with its HTTP status."""

    def __init__(self, problem: Problem, status: int) -> None:
        super().__init__(problem)
        self.status = status


def open_endpoint(source: str) -> ChatEndpoint | None:
    """Return the client of a model that is named by its URL, `http://localhost:8000/v1#name`; None for other sources.

    Raises:
        InputError: a URL without the model's name, or one that cannot be used.
    """
    if not source.lower().startswith(("http://", "https://")):
        return None
    url, _, name = source.partition("#")
    if not name.strip():
        expected, fix = "a model's name after it, as in http://localhost:8000/v1#name", "See GET /models there."
        raise InputError(Problem("LLM", "url", expected, url, fix))
    return ChatEndpoint(url, name.strip())


class ChatEndpoint:
    """Client of a chat model, with greedy decoding unless a temperature is given.

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
        self._max_tokens = max_tokens
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
        turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
        return [reply.text for reply in self.chat(turns, self._max_tokens)]

    def chat(
        self, conversations: Sequence[Sequence[Turn]], max_tokens: int, temperature: float = 0.0, top_p: float = 1.0
    ) -> list[Reply]:
        """Return the reply to each conversation, in their order.

        Raises:
            InputError: see `complete`.
        """
        settings = {"max_tokens": max_tokens, "temperature": temperature, **({"top_p": top_p} if top_p < 1 else {})}
        bodies = ({**settings, "messages": list(turns)} for turns in conversations)
        return self._ask_all("chat/completions", bodies, _reply_of_chat)

    def continuations(self, texts: Sequence[str], max_tokens: int, stop: Sequence[str] = ()) -> list[Reply]:
        """Return how the model continues each text, up to one of the stop strings; no chat template is applied.

        Raises:
            InputError: see `complete`.
        """
        settings = {"max_tokens": max_tokens, "temperature": 0, **({"stop": list(stop)} if stop else {})}
        return self._ask_all("completions", ({**settings, "prompt": text} for text in texts), _reply_of_text)

    def log_probs(self, texts: Sequence[tuple[str, str]]) -> list[float]:
        """Return the log-likelihood of each text given the one before it: pairs of prompt and continuation.

        Summed over the tokens that spell the continuation.

        Raises:
            InputError: the server gives no log-probabilities of a prompt, or see `complete`.
        """
        settings = {"max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
        bodies = ({**settings, "prompt": prompt + text} for prompt, text in texts)
        try:
            found = self._ask_all("completions", bodies, _prompt_log_probs)
        except Refusal as error:
            if error.status not in _UNKNOWN_REQUEST:
                raise
            raise self._cannot_score(f"HTTP {error.status}") from None
        pairs = zip(texts, found, strict=True)
        sums = [value for (prompt, text), row in pairs if row and (value := _sum_of(prompt, text, *row)) is not None]
        if len(sums) < len(texts):
            raise self._cannot_score("a reply without them")
        return sums

    def _cannot_score(self, got: str) -> InputError:
        expected = "log-probabilities of a prompt (/completions with echo and logprobs), which mode score needs"
        fix = "Take mode=prompt, or a server that has them, such as vLLM."
        return InputError(Problem(self.url, f"model {self.model}", expected, got, fix))

    def _ask_all(self, path: str, bodies: Iterable[dict[str, Any]], read: Callable[[str], T]) -> list[T]:
        pool = ThreadPoolExecutor(self._workers)
        try:
            return list(pool.map(lambda body: self._ask(path, body, read), bodies))
        finally:
            pool.shutdown(cancel_futures=True)

    def _ask(self, path: str, body: dict[str, Any], read: Callable[[str], T]) -> T:
        failure = ""
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(min(self._pause * 2 ** (attempt - 1), _LONGEST_PAUSE))
            try:
                with _OPENER.open(self._request(path, body), timeout=self._timeout) as reply:
                    return read(self._read(reply))
            except urllib.error.HTTPError as error:
                with error:
                    failure = f"HTTP {error.code} {shorten(self._read(error))}"
                if error.code not in _PASSING:
                    raise Refusal(self._problem(failure, _remedy(error.code)), error.code) from None
            except TimeoutError:
                failure = f"no answer within {self._timeout:g} s"
            except (OSError, http.client.HTTPException, ValueError) as error:
                failure = shorten(without(str(getattr(error, "reason", error)), self._token), 200)
        failure += f", {self._attempts} times" if self._attempts > 1 else ""
        raise InputError(
            self._problem(failure, "See whether the server is up and serves this model; what is cached is kept.")
        )

    def _request(self, path: str, body: dict[str, Any]) -> urllib.request.Request:
        data = json.dumps({"model": self.model, **body}).encode()
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return urllib.request.Request(f"{self.url}/{path}", data, headers)

    def _read(self, reply: Any) -> str:
        """Read a server's reply, with the token removed before any shortening: a server may echo what it was sent."""
        return without(reply.read(_LONGEST_REPLY).decode("utf-8", "replace"), self._token)

    def _problem(self, got: str, fix: str) -> Problem:
        return Problem(self.url, f"model {self.model}", "an answer", got, fix)


def _is_plain(url: str) -> bool:
    """Tell whether a URL is HTTP or HTTPS with a host, and without any part that could be secret."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    secret = "@" in parts.netloc or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not secret


def _choice(reply: str) -> dict[str, Any]:
    """Return the first choice in a server's reply; raise ValueError if there is none."""
    try:
        choice = json.loads(reply)["choices"][0]
    except (ValueError, LookupError, TypeError, RecursionError):
        choice = None
    if not isinstance(choice, dict):
        raise ValueError(f"a reply without choices[0].message.content: {shorten(reply[:200])}")
    return choice


def _reply_of_chat(reply: str) -> Reply:
    choice = _choice(reply)
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, str):
        raise ValueError(f"a reply without choices[0].message.content: {shorten(reply[:200])}")
    return Reply(content, choice.get("finish_reason") != "length")


def _reply_of_text(reply: str) -> Reply:
    choice = _choice(reply)
    if not isinstance(choice.get("text"), str):
        raise ValueError(f"a reply without choices[0].text: {shorten(reply[:200])}")
    return Reply(choice["text"], choice.get("finish_reason") != "length")


def _prompt_log_probs(reply: str) -> tuple[list[str], list[Any]] | None:
    """Return the tokens of an echoed prompt, with those generated after it, and their log-probabilities, if any."""
    found = _choice(reply).get("logprobs")
    tokens, values = (found.get("tokens"), found.get("token_logprobs")) if isinstance(found, dict) else (None, None)
    if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
        return None
    return [str(token) for token in tokens], values


def _sum_of(prompt: str, text: str, tokens: Sequence[str], values: Sequence[Any]) -> float | None:
    """Sum the log-probabilities of the tokens that spell `text` after `prompt`; None where they are not all there.

    One generated token may follow; tokens before the prompt, such as one that opens it, do no harm.
    """
    end = (prompt + text)[-_COMPARED:]
    for generated in (0, 1):
        kept = len(tokens) - generated
        if not "".join(tokens[:kept]).endswith(end):
            continue
        length, total = 0, 0.0
        while length < len(text):
            kept -= 1
            if not isinstance(values[kept], int | float) or isinstance(values[kept], bool):
                return None
            length, total = length + len(tokens[kept]), total + values[kept]
        return total
    return None


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
