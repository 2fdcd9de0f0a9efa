"""Prompts, pictures, spectrograms and batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

from affectgpt.model import AffectGPTProcessor
from affectgpt.model.processing import MODALITIES, PLACEHOLDERS
from affectgpt.model.sound import cut_windows, prepare_sound, spread_windows
from affectgpt.problems import InputError

USER = {"role": "user", "content": "What does this person feel?"}


@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        (("face", "audio"), ["multi"] * 3 + ["audio"] + ["face"] * 2),
        (("face",), ["face"] * 2),
        (("audio",), ["audio"]),
    ],
)
def test_placeholders_stand_in_order_before_the_first_question(tiny, streams, expected):
    turns = [{"role": "system", "content": "Be kind."}, USER, {"role": "assistant", "content": "joy"}, USER]
    row = tiny.processor.tokenise(turns, "fear", streams)
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
        row = tiny.processor.tokenise(turns, words if role == "target" else "joy", ["face"])
        return [*row.prompt_ids, *row.target_ids]

    plain = sum(token in special for token in ids("joy"))
    assert plain > 4
    for mark in marks:
        assert sum(token in special for token in ids(f"joy {mark} fear")) == plain, mark


def test_pictures(tiny):
    frames = np.zeros((3, 20, 40, 3), np.uint8)
    frames[:, :, :, 0] = 255
    pixels = tiny.processor.pictures(frames)["pixel_values"]
    assert (pixels.shape, pixels.dtype) == ((3, 3, 32, 32), torch.float32)
    torch.testing.assert_close(pixels[:, 0], torch.ones(3, 32, 32))
    torch.testing.assert_close(pixels[:, 1], -torch.ones(3, 32, 32))


def test_the_plain_prompt_has_its_fields_in_the_order_of_the_paper(tiny):
    plain = AffectGPTProcessor(
        tokenizer=tiny.processor.tokenizer, num_tokens=tiny.processor.num_tokens, prompt_style="paper"
    )
    turns = [USER, {"role": "assistant", "content": "joy"}, {"role": "user", "content": "Why? ### Say."}]
    text = plain.render(turns, ("audio", "face"), "Oh ### no.")
    marks = [PLACEHOLDERS["multi"] * 3, PLACEHOLDERS["audio"], PLACEHOLDERS["face"] * 2]
    fields = ["###Human: ", *marks, "<Subtitle>Oh # ## no.</Subtitle>", USER["content"], "###Assistant: joy###"]
    places = [text.index(field) for field in fields]
    assert places == sorted(places)
    assert text.endswith("###Human: Why? # ## Say. ###Assistant: ")
    row = plain.tokenise([USER], "joy")
    assert tiny.processor.tokenizer.decode(row.target_ids[:-1]) == "joy###"
    assert row.target_ids[-1] == tiny.processor.tokenizer.eos_token_id
    assert plain.stop_strings == ["###"]
    assert tiny.processor.stop_strings == []


def test_wording_of_the_plain_prompt_is_saved(tiny, tmp_path):
    words = {"subtitle": "It is said: {subtitle}. "}
    AffectGPTProcessor(
        tokenizer=tiny.processor.tokenizer, num_tokens={}, prompt_style="paper", wording=words
    ).save_pretrained(tmp_path)
    again = AffectGPTProcessor.from_pretrained(tmp_path)
    assert "It is said: Oh. " in again.render([USER], (), "Oh")
    assert (again.prompt_style, again.image_processor, again.feature_extractor) == ("paper", None, None)


def test_a_tokenizer_without_a_template_is_bad_input(tiny):
    import copy

    tokenizer = copy.deepcopy(tiny.processor.tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(InputError, match=r"Set model\.prompt_style to paper"):
        AffectGPTProcessor(tokenizer=tokenizer).render([USER])


@pytest.mark.parametrize(("samples", "windows"), [(8000, 1), (16000, 1), (16001, 2), (40000, 3), (10, 1)])
def test_sound_is_cut_into_windows_that_hold_it_once(tiny, samples, windows):
    wave = np.sin(np.arange(samples) / 10).astype(np.float32)
    sound = prepare_sound(wave, tiny.processor.feature_extractor)
    mel = sound.inputs["input_features"]
    assert (mel.shape, len(sound.shares)) == ((windows, 16, 100), windows)
    assert sum(sound.shares) == pytest.approx(samples / 16000)
    # Every window is that of its own part of the sound.
    for index, part in enumerate(np.array_split(wave, windows)):
        alone = prepare_sound(part, tiny.processor.feature_extractor).inputs["input_features"]
        torch.testing.assert_close(mel[index], alone[0])


def test_windows_are_spread_evenly():
    wave = np.arange(100, dtype=np.float32)
    assert [(part[0], len(part)) for part in spread_windows(wave, 40, 4)] == [(0, 40), (20, 40), (40, 40), (60, 40)]
    short = spread_windows(wave[:30], 40, 3)
    assert [part.tolist() for part in short] == [[*range(30), *[0] * 10]] * 3
    assert [len(part) for part in cut_windows(wave, 40)] == [34, 33, 33]


def test_samples_are_normalised_over_all_windows_of_a_clip_together():
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=100)
    wave = np.random.default_rng(0).normal(2, 3, 7001).astype(np.float32)
    sound = prepare_sound(wave, extractor)  # windows of at most 30 s
    padded = np.append(wave, np.float32(0))
    expected = ((padded - padded.mean()) / np.sqrt(padded.var() + 1e-7)).reshape(3, 2334)
    np.testing.assert_allclose(sound.inputs["input_values"].numpy(), expected, atol=1e-5)
    assert sound.shares == [1.0, 1.0, 2333 / 2334]
    short = prepare_sound(wave[:3], extractor)  # a tenth of a second at least
    assert (short.inputs["input_values"].shape, short.shares) == ((1, 10), [0.3])


def test_windows_are_as_long_and_as_many_as_they_are_told_to_be(tiny):
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=100)
    wave = np.random.default_rng(0).normal(size=500).astype(np.float32)
    sound = prepare_sound(wave, extractor, "windows", 4, 0.5)
    assert (sound.inputs["input_values"].shape, sound.shares) == ((4, 50), [1.0] * 4)
    sound = prepare_sound(np.tile(wave, 32), tiny.processor.feature_extractor, "windows", 3, 0.5)
    assert (len(sound.inputs["input_features"]), sound.shares) == (3, [0.5] * 3)


def test_what_a_model_was_trained_to_take_is_saved(tiny, tmp_path):
    assert tiny.processor.inputs == list(MODALITIES)
    AffectGPTProcessor(tokenizer=tiny.processor.tokenizer, inputs=("audio",)).save_pretrained(tmp_path)
    assert AffectGPTProcessor.from_pretrained(tmp_path).inputs == ["audio"]
