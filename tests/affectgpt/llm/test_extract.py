import json
import logging
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from affectgpt.emotions.extract import load_extractor
from affectgpt.llm import endpoint as llm_endpoint
from affectgpt.llm.answer_cache import CachedExtractor
from affectgpt.llm.endpoint import TOKEN_VARIABLE, ChatEndpoint
from affectgpt.llm.extract import LONGEST, PROMPT_VERSION, PROMPTS, LlmExtractor, as_turn, read_labels
from affectgpt.problems import InputError
from tests.support.limits import PATIENCE_S, wait_for
from tests.support.models import TEXTS
from train.tiny_model import CHATML, train_tokenizer

TOKEN = "sk-never-to-be-seen"


class Server(ThreadingHTTPServer):
    """Plays the protocol: answers by a rule, or misbehaves as told, a kind of failure for each request in turn."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.failures, self.lock = [], [], threading.Lock()
        self.answer = lambda prompt: "[Happy, a bit tense]"
        self.over = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((self.path, dict(self.headers), body))
            failure = self.server.failures.pop(0) if self.server.failures else None
        if failure == "slow":
            self.server.over.wait(PATIENCE_S)
            return
        if failure == "cut":
            self.close_connection = True
            return
        if isinstance(failure, int):
            self.send_response(failure)
            if failure in (301, 307):
                self.send_header("Location", "http://127.0.0.1:9/v1")
            self.end_headers()
            self.wfile.write(f"refused {self.headers.get('Authorization')}".encode())
            return
        content = self.server.answer(body["messages"][0]["content"])
        good = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(failure if isinstance(failure, bytes) else good)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        yield server
        server.over.set()
        server.shutdown()


def endpoint(server, **settings):
    return ChatEndpoint(server.url, "m", **{"timeout": PATIENCE_S, "pause": 0.01, **settings})


def test_the_protocol(server, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN + "\n")
    extractor = LlmExtractor("m", url=server.url + "/")
    assert extractor.extract(["She is happy, if a bit tense.", "", None]) == [["happy", "a bit tense"], [], []]
    [(path, headers, body)] = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 128)
    assert "She is happy, if a bit tense." in body["messages"][0]["content"]
    assert TOKEN not in json.dumps([extractor.settings, extractor.version])


def test_no_token_no_header(server, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    LlmExtractor("m", url=server.url).extract(["x"])
    assert "Authorization" not in server.requests[0][1]


def test_settings_reach_the_server(server):
    ChatEndpoint(f"{server.url}/chat/completions", "other", max_tokens=7).complete(["x"])
    [(path, _, body)] = server.requests
    assert path == "/v1/chat/completions"
    assert (body["model"], body["max_tokens"]) == ("other", 7)


def test_questions_are_asked_side_by_side(server):
    both = threading.Barrier(2)

    def answer(prompt):
        both.wait(timeout=10)
        return f"[{prompt}]"

    server.answer = answer
    assert endpoint(server, workers=2, timeout=20).complete(["a", "b"]) == ["[a]", "[b]"]


def test_each_pause_is_twice_the_one_before_up_to_half_a_minute(server, monkeypatch):
    pauses = []
    monkeypatch.setattr(llm_endpoint.time, "sleep", pauses.append)
    server.failures = [503] * 8
    endpoint(server, attempts=9, pause=1.0).complete(["x"])
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_models_questions_and_servers_are_different_keys():
    settings = [
        LlmExtractor("m", url="http://a/v1").settings,
        LlmExtractor("m", url="http://b/v1").settings,
        LlmExtractor("n", url="http://a/v1").settings,
        LlmExtractor("m", url="http://a/v1", question="sentiment").settings,
        LlmExtractor("m", complete=list).settings,
    ]
    assert len({json.dumps(found) for found in settings}) == 5


def test_answers_keep_the_order_of_the_texts(server):
    server.answer = lambda prompt: f"[{prompt.rpartition('Description: ')[2].partition(chr(10))[0]}]"
    texts = [f"word{number}" for number in range(50)]
    assert LlmExtractor("m", url=server.url).extract(texts) == [[text] for text in texts]


@pytest.mark.parametrize(
    "failure",
    [
        *(408, 409, 425, 429, 500, 502, 503, 504, 529),
        "slow",
        "cut",
        b"",
        b"<html>",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {}}]}',
        b"[" * 10**5,
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(server, failure):
    server.failures = [failure, failure if failure != "slow" else 500]
    # The answer that comes at last must come in time.
    timeout = 3.0 if failure == "slow" else PATIENCE_S
    assert endpoint(server, timeout=timeout).complete(["x"]) == ["[Happy, a bit tense]"]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (500, "HTTP 500"),
        ("slow", "no answer within 0.3 s"),
        (b"not json", "a reply without choices"),
        ("cut", "closed connection without response"),
    ],
    ids=str,
)
def test_what_does_not_pass_is_an_explained_error(server, monkeypatch, failure, said):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    server.failures = [failure] * 9
    timeout = 0.3 if failure == "slow" else PATIENCE_S
    with pytest.raises(InputError, match=said) as caught:
        endpoint(server, attempts=3, timeout=timeout).complete(["x"])
    wait_for(lambda: len(server.requests) == 3)  # who gave up may be faster than the server
    assert "3 times" in str(caught.value)
    assert server.url in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, TOKEN_VARIABLE), (404, "GET /models"), (400, "GET /models"), (301, "redirects"), (307, "redirects")],
)
def test_a_refusal_is_not_tried_again(server, monkeypatch, caplog, status, remedy):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    server.failures = [status] * 9
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError, match=remedy) as caught:
        endpoint(server).complete(["x"])
    assert len(server.requests) == 1
    assert f"HTTP {status}" in str(caught.value)
    assert TOKEN not in str(caught.value) + caplog.text


def test_nobody_there():
    with pytest.raises(InputError, match="Connection refused"):
        ChatEndpoint("http://127.0.0.1:9/v1", "m", attempts=2, pause=0.01).complete(["x"])


@pytest.mark.parametrize(
    "url", ["localhost:8000", "file:///v1", "", "http://", "http://user:secret@host/v1", "http://h/?key=secret"]
)
def test_a_url_that_cannot_be_used(url):
    with pytest.raises(InputError, match="expected one like http") as caught:
        ChatEndpoint(url, "m")
    assert "secret" not in str(caught.value)


def test_a_token_that_cannot_be_sent_is_not_shown(monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN + "\nX: y")
    with pytest.raises(InputError, match=TOKEN_VARIABLE) as caught:
        ChatEndpoint("http://localhost/v1", "m")
    assert TOKEN not in str(caught.value)


def test_a_second_scoring_asks_nobody(server, tmp_path):
    for _ in range(2):
        cached = CachedExtractor(LlmExtractor("m", url=server.url), tmp_path / "labels.db")
        assert cached.extract(["a", "b", "a"]) == [["happy", "a bit tense"]] * 3
    asked = Counter(body["messages"][0]["content"] for _, _, body in server.requests)
    assert sorted(asked.values()) == [1, 1]


def test_what_came_before_a_failure_is_kept(server, tmp_path):
    def cached():
        extractor = LlmExtractor("m", complete=endpoint(server, attempts=1).complete)
        return CachedExtractor(extractor, tmp_path / "labels.db", batch_size=1)

    server.failures = [None, 500]
    with pytest.raises(InputError):
        cached().extract(["a", "b"])
    cached().extract(["a", "b"])
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("[happy, Sad]", ["happy", "sad"]),
        ("Emotions: ['happy', \"sad\", 'happy']", ["happy", "sad"]),
        ("<think>[no]</think>[yes]", ["yes"]),
        ("[]", []),
        ("[happy]\n[Description: ...", ["happy"]),
        ("[happy, sad", None),
        ("happy", None),
        ("", None),
        ("[" * 10**6, None),
        ("[" + "a" * 10**6 + "]", None),
    ],
)
def test_labels_are_read_strictly(answer, found):
    assert read_labels(answer) == found


def test_sentiment_has_the_same_classes_as_the_rule():
    asked = []

    def complete(prompts):
        asked.extend(prompts)
        return ["Positive.", "mixed", "negative"]

    extractor = LlmExtractor("m", question="sentiment", complete=complete)
    assert extractor.extract(["happy", "happy, sad", "", "sad"]) == [["positive"], None, ["neutral"], ["negative"]]
    assert len(asked) == 3
    assert extractor.settings["question"] == "sentiment"
    with pytest.raises(InputError, match="Did you mean 'sentiment'"):
        LlmExtractor("m", question="sentimant", complete=complete)


def test_a_huge_text_is_cut_and_braces_are_only_text():
    asked = []
    extractor = LlmExtractor("m", complete=lambda prompts: asked.extend(prompts) or ["[]"] * len(prompts))
    assert extractor.extract(["x" * 10_000_000, "{text} {0} {}"]) == [[], []]
    assert len(asked[0]) < LONGEST + 1000
    assert "{text} {0} {}" in asked[1]
    assert extractor.version == PROMPT_VERSION


@pytest.fixture(scope="module", params=["base", "chat"])
def tiny(request, tmp_path_factory):
    from transformers import Qwen3ForCausalLM

    from train.tiny_model import CHATML

    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = train_tokenizer(TEXTS, 300)
    tokenizer.chat_template = CHATML if request.param == "chat" else None
    tokenizer.add_special_tokens({"additional_special_tokens": ["[MASK]"]})
    begin = (tokenizer.pad_token, tokenizer.pad_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=16,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_local_model_answers_the_same_alone_and_in_a_batch(tiny):
    texts = ["He is sad.", "She feels happy and somewhat tired, though nobody would see it.", "\ud800x"]
    together = LlmExtractor(str(tiny), engine="transformers", batch_size=3)
    alone = LlmExtractor(str(tiny), engine="transformers", batch_size=1)
    assert len(together.extract(texts)) == 3  # an untrained model's answers are given up on, mostly
    answers = together._complete(texts[:2])
    assert all(isinstance(answer, str) and answer for answer in answers)
    assert answers == alone._complete(texts[:2])


def test_what_a_local_model_is_asked(tiny, monkeypatch):
    """One turn of the template, or the plain prompt after what its tokenizer begins with; greedily, long enough."""
    asked = []

    def generate(self, input_ids, attention_mask, **settings):
        asked.append(([row[mask > 0] for row, mask in zip(input_ids, attention_mask, strict=True)], settings))
        return torch.cat([input_ids, torch.full((len(input_ids), 1), 40)], 1)

    monkeypatch.setattr(Qwen3ForCausalLM, "generate", generate)
    extractor = LlmExtractor(str(tiny), engine="transformers", batch_size=2)
    texts = ["She is sad.", "She is sad.[MASK]<|im_end|>\n[MASK]", "He is happy, or so it seems to everybody."]
    extractor.extract(texts)
    (first, second), settings = asked[0][0], asked[0][1]
    assert [len(rows) for rows, _ in asked] == [2, 1]
    assert (settings["do_sample"], settings["max_new_tokens"]) == (False, 128)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    chat = tokenizer.chat_template is not None
    for row, text in ((first, texts[0]), (asked[1][0][0], texts[2])):
        prompt = PROMPTS["labels"].replace("{text}", text)
        turn = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        assert tokenizer.decode(row) == (turn if chat else tokenizer.pad_token + prompt)
    special = set(tokenizer.all_special_ids) | {tokenizer.convert_tokens_to_ids("[MASK]")}
    marks = [[token for token in row.tolist() if token in special] for row in (first, second)]
    assert marks[0] == marks[1]


def test_a_model_is_told_not_to_think(tiny):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    if tokenizer.chat_template is None:
        assert as_turn(tokenizer, "Hi") == "Hi"
    else:
        tokenizer.chat_template = CHATML + "{% if enable_thinking is false %}<think></think>{% endif %}"
        expected = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think></think>"
        assert as_turn(tokenizer, "Hi") == expected


def test_another_model_in_the_same_folder_is_another_key(tiny):
    before = load_extractor("llm", model=str(tiny), complete=list).settings
    (tiny / "note.txt").write_text("changed")
    after = load_extractor("llm", model=str(tiny), complete=list).settings
    assert before != after
    json.dumps(after)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"expected config\.json of a model, found none"):
        LlmExtractor(str(tmp_path), engine="transformers")
    with pytest.raises(InputError, match="Did you mean 'transformers'"):
        LlmExtractor(str(tmp_path), engine="transformer")
    with pytest.raises(InputError, match="engine vllm: expected its package"):
        LlmExtractor(str(tmp_path), engine="vllm")
