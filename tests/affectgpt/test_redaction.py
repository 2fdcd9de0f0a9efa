"""Secrets stay out of messages, logs, tracebacks and the errors of an endpoint, whatever a server says back."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from affectgpt.llm.endpoint import TOKEN_VARIABLE, ChatEndpoint
from affectgpt.problems import InputError, Problem, RunError
from affectgpt.redaction import guard_logs, without_secrets
from tests.support.limits import PATIENCE_S

ROOT = Path(__file__).parents[2]
TOKEN = "tok-2f9b81/c4\\e0'7d" + "a" * 90
"""With what JSON and Python escape, and longer than what an error quotes."""
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AFFECTGPT_LLM_TOKEN", "AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize("name", VARIABLES)
def test_a_secret_of_the_environment(monkeypatch, name):
    monkeypatch.setenv(name, f" {TOKEN}\n")
    for spelt in (TOKEN, repr(TOKEN), repr(TOKEN.encode()), TOKEN.replace("/", "\\/"), json.dumps(TOKEN)):
        assert "2f9b81" not in without_secrets(f"Bearer {spelt}, refused")


def test_ordinary_variables_are_no_secrets(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("SHORT_TOKEN", "1")
    assert without_secrets("false, 1 token: http://host:80/a@b") == "false, 1 token: http://host:80/a@b"


@pytest.mark.parametrize(
    "url", ["https://user:p4ss@host/x", "http://p4ss@host", "https://user:p4@ss@host", "s3://:p4ss@h"]
)
def test_user_and_password_of_a_url(url):
    said = without_secrets(f"Cannot reach '{url}' now: mail me@home")
    assert "p4" not in said
    assert "://***@h" in said
    assert "me@home" in said


@pytest.mark.parametrize(
    "error", [InputError, RunError, lambda text: InputError([Problem(text, text, text, text, text)])]
)
def test_errors(monkeypatch, error):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    said = str(error(f"Bearer {TOKEN} at https://user:p4ss@host"))
    assert TOKEN not in said
    assert "p4ss" not in said


def test_logs_of_any_library(monkeypatch, caplog):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(logging, "_logRecordFactory", logging.LogRecord)
    guard_logs()
    guard_logs()
    logging.getLogger("huggingface_hub").warning("GET %s with %r", "https://user:p4ss@host/x", TOKEN)
    logging.getLogger("other").warning("%d of %d", 1, 2)
    assert 'GET https://***@host/x with "***"' in caplog.text
    assert "1 of 2" in caplog.text


CRASH = """
import sys
from affectgpt.command_line import run
def crash(argv):
    import logging, os
    logging.getLogger("x").error("going down with %s", os.environ["HF_TOKEN"])
    token = os.environ["HF_TOKEN"]
    raise RuntimeError(f"401 for https://user:p4ss@host with {token}") from KeyError(token)
sys.exit(run(crash, []))
"""


def test_a_traceback(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" in done.stderr
    assert "RuntimeError: 401 for https://***@host with ***" in done.stderr
    assert "2f9b81" not in done.stderr


class Echo(BaseHTTPRequestHandler):
    """Says back what it was sent, in one way after another."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        sent = self.headers["Authorization"]
        status, write = self.server.behaviour  # type: ignore[attr-defined]
        self.send_response(status, sent)
        self.send_header("Echo", sent)
        self.end_headers()
        self.wfile.write(write(sent).encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True).start()
        yield server
        server.shutdown()


ECHOES: dict[str, Callable[[str], str]] = {
    "plain": lambda sent: sent,
    "json": lambda sent: json.dumps({"error": {"message": f"invalid {sent}", "headers": {"Authorization": sent}}}),
    "slashes": lambda sent: json.dumps(sent).replace("/", "\\/"),
    "late": lambda sent: "x" * 60 + sent,
    "often": lambda sent: sent * 5,
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("status", [200, 400, 401, 404, 500])
def test_an_endpoint_that_says_back_what_it_was_sent(server, monkeypatch, caplog, capfd, status, echo):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    server.behaviour = (status, echo)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError) as caught:
        ChatEndpoint(url, "m", attempts=2, pause=0.01, timeout=PATIENCE_S).complete(["x"])
    said = f"{caught.value}{caught.value!r}{caplog.text}{''.join(capfd.readouterr())}"
    assert "***" in said
    assert [part for part in (TOKEN[start : start + 6] for start in range(0, 19, 6)) if part in said] == []
    assert "aaaaaa" not in said


def test_an_answer_that_holds_the_token(server, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    server.behaviour = (200, lambda sent: json.dumps({"choices": [{"message": {"content": f"I saw {sent}"}}]}))
    url = f"http://127.0.0.1:{server.server_port}/v1"
    assert ChatEndpoint(url, "m", timeout=PATIENCE_S).complete(["x"]) == ["I saw Bearer ***"]


@pytest.mark.parametrize(
    "url",
    [
        "http://user:p4ss@host/v1",
        "http://:p4ss@host/v1",
        "http://p4ss@host/v1",
        "http://host/v1?key=p4ss",
        "http://host/v1#p4ss",
        "http://user:p4ss@[host",
        "http://user:p4ss@host\u2100/v1",
        "http://user:p4ss@host:port/v1",
    ],
)
def test_a_url_with_something_secret_is_refused_and_not_shown(url):
    with pytest.raises(InputError, match=TOKEN_VARIABLE) as caught:
        ChatEndpoint(url, "m")
    assert "p4ss" not in str(caught.value)
