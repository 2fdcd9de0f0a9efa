"""The real client of the Hub against a Hub on this machine, with every failure that an upload meets."""

from __future__ import annotations

import hashlib

import pytest
from huggingface_hub import constants

from affectgpt.problems import InputError, RunError
from tests.support.hub_server import TOKEN, Failure, connected
from train.config.hub_names import is_hub_id, name_flaw
from train.hub import client as hub_client
from train.hub.client import TRIES, require_access, send

REPO = "user/model"
WEIGHTS, MORE = b"w" * 200_000, b"m" * 300_000
CARD = b"---\ntags: []\n---\n# A model\n"
FILES = {"a.safetensors": WEIGHTS, "b.safetensors": MORE, "config.json": b"{}", "README.md": CARD}
ONE_REQUEST = 6
"""Times that the client itself repeats a request."""


@pytest.fixture
def hub(monkeypatch):
    with connected(monkeypatch) as hub:
        yield hub


def test_a_repository_is_made_and_filled_in_one_commit(hub, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(WEIGHTS)
    sent = send(REPO, {**FILES, "a.safetensors": tmp_path / "a.safetensors"}, "Stage emotion", private=True)
    repo = hub.repos[REPO]
    assert {name: repo.files[name] for name in FILES} == FILES
    assert (repo.private, repo.messages) == (True, ["Stage emotion"])
    assert (sent.url, sent.commit) == (f"{hub.url}/{REPO}", repo.commits[-1])
    assert hub.bytes_put == len(WEIGHTS) + len(MORE)
    assert hub.waits == []


def test_what_is_there_is_not_sent_again(hub):
    send(REPO, FILES, "one")
    again = send(REPO, FILES, "two")
    assert hub.bytes_put == len(WEIGHTS) + len(MORE)
    assert (again.commit, hub.repos[REPO].messages) == (hub.repos[REPO].commits[-1], ["one"])


def test_an_earlier_model_leaves_nothing_behind(hub):
    adapter = {"adapter_config.json": b"{}", "adapter_model.safetensors": WEIGHTS, "base/tokenizer.json": b"{}"}
    send(REPO, {**adapter, "README.md": CARD}, "one")
    mine = {"LICENSE": b"mine", "examples/config.json": b"mine too"}
    hub.repos[REPO].files |= mine
    send(REPO, FILES, "two")
    assert set(hub.repos[REPO].files) == {*FILES, *mine, ".gitattributes"}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_a_server_in_trouble_is_asked_again(hub, status):
    hub.failures = [Failure(*place, status=status) for place in (("POST", "repos/create"), ("POST", "/commit/"))]
    said = []
    send(REPO, FILES, "one", say=said.append)
    assert hub.waits == [2.0, 4.0]
    assert said == [
        f"{REPO}: try 1 of {TRIES} failed: HTTP {status}, 'no luck with /api/repos/create'. The next one in 2 s.",
        f"{REPO}: try 2 of {TRIES} failed: HTTP {status}, 'no luck with /api/models/{REPO}/commit/main'. "
        "The next one in 4 s.",
    ]
    assert hub.bytes_put == len(WEIGHTS) + len(MORE)


def test_silence_is_a_failure(hub, monkeypatch):
    monkeypatch.setattr(hub_client, "TIMEOUT_S", 3.0)  # every other request is answered by then
    hub.failures = [Failure("POST", "/commit/", hang=True)]
    send(REPO, FILES, "one")
    assert hub.waits == [2.0]
    assert hub.repos[REPO].messages == ["one"]


def test_an_answer_that_is_lost_makes_no_second_commit(hub):
    hub.failures = [Failure("POST", "/commit/", status=504, after=True)]
    sent = send(REPO, FILES, "one")
    assert hub.waits == [2.0]
    assert hub.repos[REPO].messages == ["one"]
    assert sent.commit == hub.repos[REPO].commits[-1]


def test_a_cut_in_the_middle_of_a_file_is_mended_by_the_client(hub):
    hub.failures = [Failure("PUT", "/storage/", cut=100_000)]
    send(REPO, FILES, "one")
    assert hub.waits == []
    assert hub.repos[REPO].files["a.safetensors"] == WEIGHTS
    assert hub.bytes_put == len(WEIGHTS) + len(MORE) + 100_000


def test_a_push_that_was_cut_goes_on_with_what_is_missing(hub):
    """One file arrives, the other never does; the next push sends the other alone."""
    oid = hashlib.sha256(MORE).hexdigest()
    hub.failures = [Failure("PUT", oid, cut=50_000, times=ONE_REQUEST * TRIES)]
    with pytest.raises(
        RunError, match=rf"{REPO}: the upload failed 6 times, .* run the same command to send the rest"
    ) as caught:
        send(REPO, FILES, "one")
    assert hub.waits == [2.0, 4.0, 8.0, 16.0, 32.0]
    assert set(hub.repos[REPO].files) == {".gitattributes"}
    assert "X-Amz" not in str(caught.value)
    hub.failures, hub.bytes_put = [], 0
    hub.requests.clear()
    send(REPO, FILES, "two")
    assert hub.bytes_put == len(MORE)
    assert hub.counted("PUT", "/storage/") == 1
    assert hub.repos[REPO].files["b.safetensors"] == MORE


def test_an_address_of_the_storage_that_ran_out_is_asked_for_anew(hub):
    hub.failures = [Failure("PUT", "/storage/", status=403)]
    send(REPO, FILES, "one")
    assert hub.waits == [2.0]
    assert hub.counted("POST", "objects/batch") == 2


def test_a_commit_of_someone_else_in_between_is_kept(hub):
    send(REPO, FILES, "one")
    hub.rival = {"LICENSE": b"theirs"}
    send(REPO, {**FILES, "config.json": b"[]"}, "two")
    assert hub.waits == [2.0]
    assert hub.repos[REPO].files["LICENSE"] == b"theirs"
    assert hub.repos[REPO].files["config.json"] == b"[]"


def test_409_of_a_commit_is_a_newer_parent(hub):
    hub.failures = [Failure("POST", "/commit/", status=409)]
    send(REPO, FILES, "one")
    assert hub.waits == [2.0]


@pytest.mark.parametrize("token", ["hf_" + "Wrong" * 7, "other-secret-of-mine"])
def test_a_login_that_is_not_valid(hub, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match=r"user/model: the Hub: expected a login that is valid, got HTTP 401.*hf auth"):
        send(REPO, FILES, "one")
    assert hub.waits == []


def test_no_token_in_a_message(hub):
    """Not even where a server repeats it."""
    said = f"your token {TOKEN} at http://x/y?X-Amz-Signature=secret is odd"
    hub.failures = [Failure("POST", "repos/create", status=418, said=said)]
    with pytest.raises(RunError) as caught:
        send(REPO, FILES, "one")
    assert "your token *** at http://x/y is odd" in str(caught.value)


def test_a_namespace_of_someone_else(hub):
    with pytest.raises(InputError, match=r"other/model: the Hub: expected a login that may write there, got HTTP 403"):
        send("other/model", FILES, "one")
    assert hub.counted("POST", "preupload") == 0


def test_a_repository_that_goes_away(hub):
    hub.failures = [Failure("POST", "/preupload/", status=404)]
    with pytest.raises(InputError, match="user/model: the Hub: expected a repository, got HTTP 404"):
        send(REPO, FILES, "one")


XET_ERROR = "Network error: Request error: HTTP status client error ({status}), domain: {url}"
"""How the client of Xet storage reports what a server answered: without the answer itself."""


@pytest.mark.parametrize(
    ("status", "url", "expected"),
    [
        ("404 Not Found", "http://hub/api/models/user/model/xet-write-token/main", "HF_HUB_DISABLE_XET=1"),
        ("404 Not Found", "http://cas.hub/v1/chunks", "HF_HUB_DISABLE_XET=1"),
        ("401 Unauthorized", "http://hub/api/models/user/model/xet-write-token/main", "hf auth login"),
        ("403 Forbidden", "http://hub/api/models/user/model/xet-write-token/main", "a login that may write there"),
    ],
)
def test_what_xet_storage_refuses_is_final_at_once(hub, monkeypatch, status, url, expected):
    def refuse(*_: object) -> None:
        raise ConnectionError(XET_ERROR.format(status=status, url=url))

    monkeypatch.setattr(hub_client, "_send_once", refuse)
    with pytest.raises(InputError) as caught:
        send(REPO, FILES, "one")
    assert expected in str(caught.value)
    assert hub.waits == []


@pytest.mark.parametrize("status", ["408 Request Timeout", "429 Too Many Requests", "403 Forbidden"])
def test_xet_storage_in_trouble_is_asked_again(hub, monkeypatch, status):
    """So is one whose signed address ran out, which answers 403."""

    def fail(*_: object) -> None:
        raise ConnectionError(XET_ERROR.format(status=status, url="http://cas.hub/v1/chunks"))

    monkeypatch.setattr(hub_client, "_send_once", fail)
    with pytest.raises(RunError, match=f"failed {TRIES} times"):
        send(REPO, FILES, "one")
    assert len(hub.waits) == TRIES - 1


def test_a_server_without_xet_storage_is_recognised_by_its_real_client(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    pytest.importorskip("hf_xet")
    with pytest.raises(InputError, match=r"expected a server with Xet storage.*404.*HF_HUB_DISABLE_XET=1"):
        send(REPO, FILES, "one")
    assert hub.waits == []
    assert hub.counted("POST", "/commit/") == 0


def test_a_full_account_is_said_at_once(hub):
    hub.failures = [Failure("POST", "objects/batch", status=402)]
    with pytest.raises(RunError, match="the Hub refused the upload: HTTP 402, 'no luck with"):
        send(REPO, FILES, "one")
    assert hub.waits == []


def test_what_the_storage_refuses_is_said_at_once(hub):
    hub.full = True
    with pytest.raises(RunError, match=r"the Hub refused the upload: .*storage quota exceeded\. Correct that"):
        send(REPO, FILES, "one")
    assert hub.waits == []


def test_private_weights_never_go_to_a_public_repository(hub):
    send(REPO, {"README.md": CARD}, "one")
    with pytest.raises(InputError, match=r"expected a private repository, it is public. Nothing was sent"):
        send(REPO, FILES, "two", private=True)
    assert hub.bytes_put == 0


@pytest.mark.parametrize("name", ["model", "user/", "user/a/b", "../model", "user/a--b", "user/mo del", "user/x.git"])
def test_a_bad_name_is_refused_before_anything_is_sent(hub, name):
    assert "user/name" in name_flaw(name)
    with pytest.raises(InputError, match="repository: expected user/name"):
        send(name, FILES, "one")
    assert hub.requests == []


def test_offline_and_logged_out_are_said_before_anything_is_sent(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE: expected 0 or not set.* Unset HF_HUB_OFFLINE"):
        send(REPO, FILES, "one")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"expected a login, found none. Log in with: hf auth login"):
        require_access()
    assert hub.requests == []


def test_names_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert is_hub_id("Qwen/Qwen2.5-7B-Instruct")
    assert not any(map(is_hub_id, [str(tmp_path), "models/mine", "./x", "~/x", "runs/mine/checkpoints", "../x"]))
