"""Conversations, whoever holds them; `affectgpt chat` itself is tested beside the command."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from affectgpt.inference.assistant import Assistant
from affectgpt.inference.conversation import Conversation, answer_printer

QUESTION = "What does this person feel?"


def test_an_answer_is_remembered_whether_it_is_printed_or_not(tiny, monkeypatch, capsys):
    heard = []

    def ask(self: Assistant, question: str, history: Any = None, **settings: Any) -> str:
        heard.append([turn["content"] for turn in history])
        return f"answer {len(heard)}"

    monkeypatch.setattr(Assistant, "ask", ask)
    conversation = Conversation(Assistant.from_pretrained(tiny.folder), {}, None)
    assert conversation.answer("one") == {"answer": "answer 1"}
    assert capsys.readouterr().out == ""
    assert conversation.ask("two") == "answer 2"
    assert capsys.readouterr().out == "answer 2\n"
    conversation.answer("three")
    assert heard == [[], ["one", "answer 1"], ["one", "answer 1", "two", "answer 2"]]
    conversation.open({})
    conversation.answer("four")
    assert heard[-1] == []


def test_nothing_that_was_not_answered_is_remembered(tiny, monkeypatch):
    monkeypatch.setattr(Assistant, "ask", lambda self, question, **settings: "")
    conversation = Conversation(Assistant.from_pretrained(tiny.folder), {}, None)
    assert conversation.answer(QUESTION) == {"answer": ""}
    assert conversation.history == []


def test_a_terminal_gets_words_as_they_come_without_the_stop_string(tiny, capsys):
    tokenizer = tiny.processor.tokenizer
    printer = answer_printer(SimpleNamespace(tokenizer=tokenizer, stop_strings=["###"]))
    printer.put(torch.tensor([[1, 2, 3]]))  # the prompt
    for token in tokenizer("this person feels joy###")["input_ids"]:
        printer.put(torch.tensor([token]))
    early = capsys.readouterr().out
    assert early.startswith("this person")
    printer.end()
    assert early + capsys.readouterr().out == "this person feels joy\n"
