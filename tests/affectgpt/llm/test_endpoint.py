"""The client of a chat model: replies, likelihoods of prompts, and a token that is seen nowhere."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from affectgpt import problems
from affectgpt.llm import endpoint as module
from affectgpt.llm.answer_cache import CachedExtractor
from affectgpt.llm.endpoint import TOKEN_VARIABLE, ChatEndpoint, Reply
from affectgpt.llm.extract import LlmExtractor
from affectgpt.problems import InputError

TOKEN = 'sk-"never"\\to/be+seen'
"""A token that JSON and Python spell otherwise than it is."""


class Parrot(ThreadingHTTPServer):
    """A server that answers by a rule: (path, body, token) -> status and reply."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rule: Callable[[str, Any, str], tuple[int, Any]] = lambda path, body, token: (200, {})
        self.tokens: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Parrot

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.tokens.append(token)
        status, reply = self.server.rule(self.path, body, token)
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Parrot]:
    with Parrot() as server:
        yield server
        server.shutdown()


def client(server: Parrot, **settings: Any) -> ChatEndpoint:
    return ChatEndpoint(f"http://127.0.0.1:{server.server_port}/v1", "m", **{"attempts": 1, "pause": 0.01, **settings})


def said(text: str, **more: object) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, **more}]}


LEAKS: dict[str, Callable[[str], tuple[int, Any]]] = {
    "a refusal": lambda token: (400, f"bad token {token}".encode()),
    "a failure": lambda token: (500, f"bad token {token}".encode()),
    "a refusal as JSON": lambda token: (401, {"error": {"message": f"Incorrect API key: {token}"}}),
    "a refusal as JSON in JSON": lambda token: (403, json.dumps(json.dumps({"key": token})).encode()),
    "a repr": lambda token: (422, repr({"headers": f"Bearer {token}"}).encode()),
    "a reply that is none": lambda token: (200, f"<html>{token}</html>".encode()),
    "a reply without an answer": lambda token: (200, {"choices": [], "token": token}),
    "far behind": lambda token: (500, ("x" * 60 + token).encode()),
}


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("known", ["variable gone", "variable there"])
def test_a_token_that_a_server_repeats_is_in_no_error_log_or_cache(
    server, leak, known, monkeypatch, caplog, capfd, tmp_path
):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    extractor = LlmExtractor("m", complete=client(server).complete)
    if known == "variable gone":  # only what the client itself does can help
        monkeypatch.delenv(TOKEN_VARIABLE)
    server.rule = lambda path, body, token: LEAKS[leak](token)
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError) as caught:
        CachedExtractor(extractor, tmp_path / "labels.db").extract(["x"])
    assert server.tokens == [TOKEN]
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.problems) + caplog.text
    shown += "".join(capfd.readouterr()) + (tmp_path / "labels.db").read_bytes().decode("latin-1")
    for spelt in spellings(TOKEN):
        assert spelt not in shown


def spellings(token: str) -> set[str]:
    """A token as it is, and in every way in which a reply may spell it."""
    once = json.dumps(token)[1:-1]
    return {token, once, json.dumps(once)[1:-1], repr(token)[1:-1], "never"}


@pytest.mark.parametrize("leak", LEAKS)
def test_without_redaction_every_one_of_them_would_be_seen(server, leak, monkeypatch):
    """The test above is not blind."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setattr(module, "without", lambda text, *secrets: text)
    monkeypatch.setattr(problems, "without_secrets", lambda text: text)
    server.rule = lambda path, body, token: LEAKS[leak](token)
    with pytest.raises(InputError) as caught:
        client(server).complete(["x"])
    assert "never" in str(caught.value)


def test_an_answer_that_repeats_the_token_is_not_cached_with_it(server, monkeypatch, tmp_path):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    server.rule = lambda path, body, token: (200, said(f"[happy, {token}]"))
    cached = CachedExtractor(LlmExtractor("m", complete=client(server).complete), tmp_path / "labels.db")
    (labels,) = cached.extract(["x"])
    cached.close()
    everything = (tmp_path / "labels.db").read_bytes().decode("latin-1") + json.dumps(labels)
    assert "happy" in everything
    assert "never" not in everything


def test_a_reply_says_whether_it_is_complete(server):
    server.rule = lambda path, body, token: (
        200,
        said("Hi", finish_reason="length" if body["max_tokens"] == 1 else "stop"),
    )
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}]
    assert client(server).chat([turns], 1) == [Reply("Hi", False)]
    assert client(server).chat([turns, turns], 2) == [Reply("Hi", True)] * 2


def echo(tokens: list[str], values: list[Any]) -> dict[str, Any]:
    return {"choices": [{"text": "".join(tokens), "logprobs": {"tokens": tokens, "token_logprobs": values}}]}


@pytest.mark.parametrize(
    ("tokens", "values", "expected"),
    [
        (["I", " am", " sad"], [None, -1.0, -2.0], -2.0),
        (["I am", " s", "ad"], [None, -1.0, -2.0], -3.0),
        (["<s>", "I am", " sad", "ly"], [None, -1.0, -2.0, -9.0], -2.0),  # what opens the prompt, what is generated
        (["I", " am sad"], [None, -5.0], -5.0),  # a token that the prompt ends in counts whole
    ],
)
def test_likelihoods_are_of_the_tokens_that_spell_the_continuation(server, tokens, values, expected):
    server.rule = lambda path, body, token: (200, echo(tokens, values))
    assert client(server).log_probs([("I am", " sad")]) == [expected]


@pytest.mark.parametrize(
    "reply",
    [
        echo([" sad"], [None]),
        echo([" happy"], [-1.0]),
        echo([], []),
        echo(["I am", " sad"], [None, None]),
        echo(["I am", " sad"], [None, True]),
        echo(["I am", " sad"], [None]),
        {"choices": [{"text": "I am sad"}]},
        {"choices": [{"text": "I am sad", "logprobs": {"content": [{"token": " sad", "logprob": -1.0}]}}]},
        {"choices": [{"text": "I am sad", "logprobs": []}]},
    ],
)
def test_a_reply_without_likelihoods_of_the_prompt_is_explained(server, reply):
    server.rule = lambda path, body, token: (200, reply)
    with pytest.raises(InputError, match=r"log-probabilities of a prompt .* got a reply without them\. Take mode"):
        client(server).log_probs([("I am", " sad")])


@pytest.mark.parametrize("status", [400, 404, 405, 422, 501])
def test_a_server_that_knows_no_echo_is_explained(server, status):
    server.rule = lambda path, body, token: (status, {"error": "echo is not supported"})
    with pytest.raises(InputError, match=f"which mode score needs, got HTTP {status}"):
        client(server).log_probs([("I am", " sad")])


@pytest.mark.parametrize("status", [401, 403, 500])
def test_other_failures_stay_what_they_are(server, status):
    server.rule = lambda path, body, token: (status, {"error": "no"})
    with pytest.raises(InputError, match=f"expected an answer, got HTTP {status}"):
        client(server).log_probs([("I am", " sad")])
