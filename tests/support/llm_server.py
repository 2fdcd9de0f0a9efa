"""An OpenAI-compatible server on this machine: a tiny language model behind `/chat/completions` and `/completions`."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from affectgpt.inputs.text_reader import render_transcript


class LanguageServer(ThreadingHTTPServer):
    """`with LanguageServer(model, tokenizer) as server`: the server at `server.url`, until the block ends.

    The model answers a conversation as a plain transcript, greedily. `scores` says what `/completions` does with echoed
    prompts: 'yes' gives their log-probabilities, 'no' leaves them out, 'gone' knows no such path.
    """

    daemon_threads = True

    def __init__(self, model: Any, tokenizer: Any, scores: str = "yes") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.tokenizer, self.scores = model.eval(), tokenizer, scores
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.said: str | None = None
        """What is answered to every conversation, instead of what the model says."""
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> LanguageServer:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @torch.no_grad()
    def continued(self, text: str, count: int, stop: list[str]) -> tuple[str, bool]:
        """Continue a text by up to `count` tokens; also whether it ended by itself."""
        ids = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with self.lock:
            out = self.model.generate(ids, max_new_tokens=count, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
        said = self.tokenizer.decode(out, skip_special_tokens=True)
        cut = next((said.partition(mark)[0] for mark in stop if mark in said), said)
        return cut, cut != said or self.tokenizer.eos_token_id in out.tolist()

    @torch.no_grad()
    def echoed(self, text: str) -> dict[str, Any]:
        """Return the tokens of a text and the likelihood of each, and one token more, as such servers do."""
        ids = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with self.lock:
            logits = self.model(ids).logits[0].float().log_softmax(-1)
        values = [None, *logits[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist()]
        following = int(logits[-1].argmax())
        tokens = [self.tokenizer.decode([token]) for token in [*ids[0].tolist(), following]]
        return {"tokens": tokens, "token_logprobs": [*values, float(logits[-1, following])]}


class _Handler(BaseHTTPRequestHandler):
    server: LanguageServer

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append((self.path, dict(self.headers), body))
        if self.path == "/v1/chat/completions":
            text, ended = server.said, True
            if text is None:
                text, ended = server.continued(render_transcript(body["messages"]), body["max_tokens"], ["User:"])
            return self.answer({"message": {"role": "assistant", "content": text}}, ended)
        if self.path != "/v1/completions" or server.scores == "gone":
            return self.refuse()
        if body.get("echo"):
            found = server.echoed(body["prompt"]) if server.scores == "yes" else None
            return self.answer({"text": body["prompt"], "logprobs": found}, False)
        text, ended = server.continued(body["prompt"], body["max_tokens"], body.get("stop", []))
        return self.answer({"text": text}, ended)

    def answer(self, choice: dict[str, Any], ended: bool) -> None:
        data = json.dumps({"choices": [{**choice, "finish_reason": "stop" if ended else "length"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""
