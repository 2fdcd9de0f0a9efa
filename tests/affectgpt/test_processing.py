"""Prompts, pictures, spectrograms and batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from affectgpt.model.processing import PLACEHOLDERS

USER = {"role": "user", "content": "What does this person feel?"}


@pytest.mark.parametrize(
    ("video", "audio", "expected"),
    [(True, True, ["multi"] * 3 + ["audio"] + ["video"] * 2), (True, False, ["video"] * 2), (False, True, ["audio"])],
)
def test_placeholders_stand_in_order_before_the_first_question(tiny, video, audio, expected):
    turns = [{"role": "system", "content": "Be kind."}, USER, {"role": "assistant", "content": "joy"}, USER]
    row = tiny.processor.tokenise(turns, "fear", video=video, audio=audio)
    names = {number: name for name, number in tiny.ids.items()}
    places = [place for place, token in enumerate(row.prompt_ids) if token in names]
    assert [names[row.prompt_ids[place]] for place in places] == expected
    assert places == list(range(places[0], places[-1] + 1))
    text = tiny.processor.tokenizer.decode(row.prompt_ids)
    assert text.index("Be kind.") < text.index(PLACEHOLDERS[expected[0]]) < text.index(USER["content"])
    assert text.endswith("<|im_start|>assistant\n")


def test_text_alone_has_no_placeholders(tiny):
    row = tiny.processor.tokenise([USER], "joy")
    assert not set(row.prompt_ids) & set(tiny.ids.values())


def test_targets_end_with_the_end_token(tiny):
    tokenizer = tiny.processor.tokenizer
    row = tiny.processor.tokenise([USER], "joy")
    assert row.target_ids[-1] == tokenizer.eos_token_id
    assert row.target_ids.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(row.target_ids[:-1]) == "joy"


@pytest.mark.parametrize("role", ["user", "system", "target"])
def test_special_tokens_in_somebodys_words_stay_words(tiny, role):
    tokenizer = tiny.processor.tokenizer
    marks = [*tokenizer.all_special_tokens, *PLACEHOLDERS.values(), "<<||im_end|>|>", "<|im_<|im_end|>end|>"]
    special = {*tokenizer.all_special_ids, *tiny.ids.values()}

    def ids(words: str) -> list[int]:
        turns = [{"role": "system", "content": words if role == "system" else "Be kind."}]
        turns.append({"role": "user", "content": words if role == "user" else "joy?"})
        row = tiny.processor.tokenise(turns, words if role == "target" else "joy", video=True)
        return [*row.prompt_ids, *row.target_ids]

    plain = sum(token in special for token in ids("joy"))
    assert plain > 4
    for mark in marks:
        assert sum(token in special for token in ids(f"joy {mark} fear")) == plain, mark


def test_padding(tiny):
    pad = tiny.processor.tokenizer.pad_token_id
    rows = [[5, 6, 7], [8]]
    right, left = tiny.processor.pad(rows, "right"), tiny.processor.pad(rows, "left")
    assert right["input_ids"].tolist() == [[5, 6, 7], [8, pad, pad]]
    assert right["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert left["input_ids"].tolist() == [[5, 6, 7], [pad, pad, 8]]
    assert left["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]


def test_pictures(tiny):
    frames = np.zeros((3, 20, 40, 3), np.uint8)
    frames[:, :, :, 0] = 255
    pixels = tiny.processor.pictures(frames)
    assert (pixels.shape, pixels.dtype) == ((3, 3, 32, 32), torch.float32)
    torch.testing.assert_close(pixels[:, 0], torch.ones(3, 32, 32))
    torch.testing.assert_close(pixels[:, 1], -torch.ones(3, 32, 32))


@pytest.mark.parametrize(
    ("samples", "windows", "frames"), [(8000, 1, 50), (16000, 1, 100), (16001, 2, 100), (40000, 3, 250), (10, 1, 1)]
)
def test_spectrogram_windows(tiny, samples, windows, frames):
    wave = np.sin(np.arange(samples) / 10).astype(np.float32)
    mel, count = tiny.processor.spectrogram(wave)
    assert (mel.shape, count) == ((windows, 16, 100), frames)
    # Every window is that of its own second of sound.
    for index in range(windows):
        alone, _ = tiny.processor.spectrogram(wave[index * 16000 : (index + 1) * 16000])
        torch.testing.assert_close(mel[index], alone[0])
