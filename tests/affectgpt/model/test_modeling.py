"""The model as transformers, TRL and PEFT use it: saved, batched, generated from, scored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from affectgpt.model import (
    AffectGPTConfig,
    AffectGPTForConditionalGeneration,
    AffectGPTModel,
    AffectGPTProcessor,
)
from affectgpt.model.modeling import build_soft_tokens, cap

QUESTION = "What does this person feel?"


@pytest.fixture
def mixed(tiny) -> list[tuple[str, str, dict]]:
    """Rows of unequal length, with both modalities, one of them, or none."""
    return [
        (QUESTION, "joy", tiny.features(1)),
        ("Explain step by step what this person feels.", "a1 mouth: smiling", tiny.features(2, audio=False)),
        ("joy?", "anger", tiny.features(3, face=False)),
        (f"{QUESTION} Choose: joy, anger, sadness", "sadness", {}),
    ]


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def same_weights(found: nn.Module, expected: nn.Module) -> None:
    """To the bit. Logits may differ in the last digit: weights mapped from a file are aligned in another way."""
    ours, theirs = found.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@torch.no_grad()
def test_saved_and_loaded_by_the_auto_classes(tiny, mixed):
    inputs = tiny.batch(mixed).inputs
    saved = tiny.model()
    expected = saved(**inputs).logits
    loaded = AutoModelForImageTextToText.from_pretrained(tiny.folder).eval()
    assert type(loaded) is AffectGPTForConditionalGeneration
    same_weights(loaded, saved)
    close(loaded(**inputs).logits, expected)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    assert loaded.generation_config.eos_token_id == tiny.processor.tokenizer.eos_token_id

    backbone = AutoModel.from_pretrained(tiny.folder).eval()
    assert type(backbone) is AffectGPTModel
    same_weights(backbone, saved.model)
    close(loaded.lm_head(backbone(**inputs).last_hidden_state), expected)

    config = AutoConfig.from_pretrained(tiny.folder)
    assert type(config) is AffectGPTConfig
    assert config.get_text_config().model_type == "qwen3"
    assert (config.vision_config.model_type, config.audio_config.model_type) == ("resnet", "whisper")
    processor = AutoProcessor.from_pretrained(tiny.folder)
    assert type(processor) is AffectGPTProcessor
    assert processor.num_tokens == config.num_tokens == {"face": 2, "audio": 1, "multi": 3}
    assert config.token_ids == {name: tiny.ids[name] for name in ("face", "audio", "multi")}


@torch.no_grad()
def test_placeholder_ids_lie_beyond_the_embedding_and_never_reach_it(tiny, mixed):
    model = tiny.model().model
    inputs = tiny.batch(mixed[:1]).inputs
    rows = len(model.get_input_embeddings().weight)
    assert rows == model.config.text_config.vocab_size
    assert int((inputs["input_ids"] >= rows).sum()) == 2 + 1 + 3
    expected = model(**inputs).last_hidden_state
    # Whatever row they are looked up in, it does not matter what stands there.
    used = set(inputs["input_ids"].flatten().tolist())
    unused = [index for index in range(rows) if index not in used]
    model.get_input_embeddings().weight[unused] = 1e3
    close(model(**inputs).last_hidden_state, expected)


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_rows_of_a_batch_are_answered_as_they_are_alone(tiny, mixed, side):
    model = tiny.model()
    batch = tiny.batch(mixed, side)
    mask = batch.inputs["attention_mask"].bool()
    # As generation numbers them.
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    together = model(**batch.inputs, position_ids=positions).logits
    for index, row in enumerate(mixed):
        alone = model(**tiny.batch([row]).inputs).logits[0]
        close(together[index][mask[index]], alone)


@torch.no_grad()
def test_soft_tokens_matter(tiny):
    model = tiny.model()

    def logits(face: int, audio: int) -> Tensor:
        features = tiny.features(face, audio=False) | tiny.features(audio, face=False)
        return model(**tiny.batch([(QUESTION, "joy", features)]).inputs).logits[0, -1]

    assert (logits(1, 1) - logits(2, 1)).abs().max() > 1e-4
    assert (logits(1, 1) - logits(1, 2)).abs().max() > 1e-4


def test_wrong_number_of_placeholders(tiny, mixed):
    batch = tiny.batch(mixed[:2]).inputs
    last = (batch["input_ids"][1] == tiny.ids["face"]).nonzero()[-1]
    batch["input_ids"][1, last] = 5
    with pytest.raises(ValueError, match=r"3 placeholders of face, but features of 2 clips with 2 soft tokens each"):
        tiny.model()(**batch)


def test_a_fused_placeholder_needs_its_clip_behind_it(tiny, mixed):
    batch = tiny.batch(mixed[:1]).inputs
    ids = batch["input_ids"][0].tolist()
    fused = tiny.ids["multi"]
    moved = [token for token in ids if token != fused] + [fused] * ids.count(fused)
    with pytest.raises(ValueError, match="a placeholder of multi is not followed by the face of its clip"):
        tiny.model()(**batch | {"input_ids": torch.tensor([moved])})


@torch.no_grad()
def test_only_the_logits_that_are_asked_for_are_computed(tiny, mixed):
    model, batch = tiny.model(), tiny.batch(mixed).inputs
    whole = model(**batch).logits
    assert torch.equal(model(**batch, logits_to_keep=2).logits, whole[:, -2:])
    places = torch.tensor([0, 3])
    assert torch.equal(model(**batch, logits_to_keep=places).logits, whole[:, places])


def test_logits_are_capped_where_the_language_model_caps_them(tiny):
    logits = torch.tensor([-100.0, 0.0, 1.0, 100.0])
    config = tiny.config().text_config
    assert cap(logits, config) is logits
    config.final_logit_softcapping = 5.0
    close(cap(logits, config), torch.tensor([-5.0, 0.0, 0.98688, 5.0]), 1e-4)


def test_soft_tokens_are_as_large_as_the_configuration_says(tiny):
    sizes = {"num_frames": 40, "num_audio_windows": 12, "qformer_hidden_size": 16}
    soft = build_soft_tokens(tiny.config(pooling="qformer", fusion="qformer", **sizes))
    assert soft.pool["visual"].position.num_embeddings == 40
    assert soft.pool["audio"].position.num_embeddings == 12
    assert {part.queries.shape[-1] for part in (*soft.pool.values(), soft.fuse.pool)} == {16}


def test_placeholders_without_features(tiny, mixed):
    batch = tiny.batch(mixed[::-1]).inputs
    del batch["audio_features"]
    with pytest.raises(ValueError, match=r"2 placeholders of audio, but features of 0 clips with 1 soft tokens each"):
        tiny.model()(**batch)


def test_features_of_another_width(tiny, mixed):
    batch = tiny.batch(mixed[:1]).inputs
    batch["face_features"] = batch["face_features"][..., :-1]
    with pytest.raises(ValueError, match=r"face_features of shape \(1, 3, 23\): expected \(clips, time, 24\)"):
        tiny.model()(**batch)


@pytest.mark.parametrize("present", [(), ("face",), ("audio",)])
def test_a_modality_that_is_missing_from_the_batch_gets_gradients_of_zero(tiny, present):
    model = tiny.model().train()
    has = {name: name in present for name in ("face", "audio")}
    rows = [(QUESTION, "joy", tiny.features(seed, **has)) for seed in (1, 2)]
    batch = tiny.batch(rows)
    loss = model(**batch.inputs, labels=batch.labels).loss
    loss.backward()
    with torch.no_grad():
        # The loss is that of the language model on the same embeddings, without whatever was passed through.
        text = model.model.splice(**{k: v for k, v in batch.inputs.items() if k != "attention_mask"})
        bare = model(inputs_embeds=text, attention_mask=batch.inputs["attention_mask"], labels=batch.labels).loss
    close(loss, bare, 1e-6)
    for name, parameter in model.model.soft_tokens.named_parameters():
        assert parameter.grad is not None, name
        part = next(part for part in ("multi", "fuse", "visual", "audio") if part in name)
        assert bool(parameter.grad.any()) <= (part.replace("visual", "face") in present), name
    assert any(parameter.grad.any() for parameter in model.model.soft_tokens.parameters()) == bool(present)


def test_a_missing_modality_does_not_change_the_loss(tiny):
    # The same rows beside one that has everything, and without it.
    model = tiny.model().train()
    rows = [(QUESTION, "joy", tiny.features(1, audio=False)), ("joy?", "anger", tiny.features(2, audio=False))]
    whole = tiny.batch([*rows, (QUESTION, "fear", tiny.features(3))])
    whole.labels[2] = -100
    part = tiny.batch(rows)
    losses = [model(**batch.inputs, labels=batch.labels).loss for batch in (whole, part)]
    close(losses[0], losses[1], 1e-6)


@torch.no_grad()
def test_generation_is_greedy_decoding_step_by_step(tiny, mixed):
    model = tiny.model()
    asked = [(question, "", features) for question, _, features in mixed]
    batch = tiny.batch(asked, "left").inputs
    found = model.generate(**batch, max_new_tokens=8, min_new_tokens=8, do_sample=False)
    found = found[:, batch["input_ids"].shape[1] :]
    end = tiny.processor.tokenizer.eos_token_id
    for index, row in enumerate(asked):
        inputs = tiny.batch([row]).inputs
        said = []
        for _ in range(8):
            scores = model(**inputs, use_cache=False).logits[0, -1]
            scores[end] = -torch.inf
            said.append(int(scores.argmax()))
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[said[-1]]])], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        assert found[index].tolist() == said


@torch.no_grad()
def test_media_enter_at_prefill_only(tiny, mixed):
    model = tiny.model()
    calls = []
    model.model.soft_tokens.register_forward_hook(lambda *_: calls.append(1))
    batch = tiny.batch([(question, "", features) for question, _, features in mixed], "left").inputs
    output = model.generate(**batch, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    assert output.shape[1] == batch["input_ids"].shape[1] + 6
    assert len(calls) == 1
    model.generate(**batch, max_new_tokens=6, min_new_tokens=6, do_sample=True, num_return_sequences=3)
    assert len(calls) == 2


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_fused_head_of_trl_scores_as_the_logits_do(tiny, mixed, temperature):
    from trl.trainer.utils import add_fused_lm_head

    model = tiny.model()
    batch = tiny.batch(mixed)
    plain = model(**batch.inputs).logits[:, :-1] / temperature
    labels = batch.labels[:, 1:]
    expected = plain.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    seen = labels != -100
    expected_gradient = torch.autograd.grad(expected[seen].sum(), model.model.soft_tokens.project["multi"].weight)[0]

    add_fused_lm_head(model, temperature=temperature, outputs=("log_probs", "entropy"))
    fused = model(**batch.inputs, labels=batch.labels, fused_lm_head=True)
    assert getattr(fused, "logits", None) is None
    scores = fused.log_probs
    scores = scores[:, -labels.shape[1] :]
    close(scores[seen], expected[seen])
    probabilities = plain.softmax(-1)
    close(fused.entropy[:, -labels.shape[1] :][seen], -(probabilities * probabilities.log()).sum(-1)[seen], 1e-4)
    gradient = torch.autograd.grad(scores[seen].sum(), model.model.soft_tokens.project["multi"].weight)[0]
    close(gradient, expected_gradient, 1e-4)


def test_accumulated_micro_batches_have_the_gradient_of_the_whole_batch(tiny, mixed):
    whole, pieces = tiny.model().train(), tiny.model().train()
    batch = tiny.batch(mixed)
    loss = whole(**batch.inputs, labels=batch.labels).loss
    loss.backward()
    count = int((batch.labels[:, 1:] != -100).sum())
    total = torch.tensor(0.0)
    for part in (mixed[:1], mixed[1:]):
        small = tiny.batch(part)
        piece = pieces(**small.inputs, labels=small.labels, num_items_in_batch=torch.tensor(count)).loss
        piece.backward()
        total += piece.detach()
    close(total, loss.detach(), 1e-6)
    for (name, one), two in zip(whole.named_parameters(), pieces.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None), name
        if one.grad is not None:
            close(two.grad, one.grad)


def test_the_loss_is_the_mean_cross_entropy_of_the_targets(tiny, mixed):
    model = tiny.model()
    batch = tiny.batch(mixed)
    output = model(**batch.inputs, labels=batch.labels)
    losses = [
        -output.logits[row, place - 1].log_softmax(-1)[batch.labels[row, place]]
        for row, place in (batch.labels != -100).nonzero().tolist()
    ]
    close(output.loss, torch.stack(losses).mean())


def test_gradient_checkpointing_changes_nothing(tiny, mixed):
    batch = tiny.batch(mixed)
    gradients = []
    for checkpointed in (False, True):
        model = tiny.model().train()
        if checkpointed:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model(**batch.inputs, labels=batch.labels).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        close(gradients[1][name], value, 1e-6)


@torch.no_grad()
def test_bfloat16(tiny, mixed):
    model = tiny.model().bfloat16()
    inputs = tiny.batch(mixed).inputs
    logits = model(**inputs).logits
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - tiny.model()(**inputs).logits).abs().max() < 0.2


@pytest.mark.parametrize("missing", [("vision_config",), ("audio_config",), ("vision_config", "audio_config")])
@torch.no_grad()
def test_models_without_a_tower(tiny, missing, tmp_path):
    model = tiny.build(**dict.fromkeys(missing))
    assert model.config.fusion == "none"
    has = {"face": "vision_config" not in missing, "audio": "audio_config" not in missing}
    assert model.config.streams == tuple(name for name, there in has.items() if there)
    inputs = tiny.batch([(QUESTION, "joy", tiny.features(1, **has))]).inputs
    # 'multi' needs both, so a prompt with one modality has none of it.
    expected = model(**inputs).logits
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    same_weights(loaded, model)
    close(loaded(**inputs).logits, expected)


@torch.no_grad()
def test_face_and_frame_share_their_modules_and_are_fused_with_the_face(tiny):
    both = tiny.build(visual="both")
    assert both.config.streams == ("face", "frame", "audio")
    assert set(both.model.soft_tokens.project) == {"visual", "audio", "multi"}
    apart = tiny.build(visual="both", share_visual=False)
    assert set(apart.model.soft_tokens.project) == {"face", "frame", "audio", "multi"}
    one, other, sound = (torch.randn(1, *shape) for shape in ((3, 24), (3, 24), (4, 16)))
    soft = both.model.soft_tokens
    tokens = soft({"face": one, "frame": other, "audio": sound}, torch.tensor([[0, 0]]))
    close(tokens["multi"], soft.project["multi"](soft.fuse(one, sound)))
    swapped = soft({"face": other, "frame": one, "audio": sound}, torch.tensor([[0, 0]]))
    close(tokens["face"], swapped["frame"])


@torch.no_grad()
def test_features_belong_to_placeholders_in_their_order(tiny, mixed):
    # Row by row, and in a row of several clips: what is fused is the face and the sound of the same clip.
    model = tiny.model()
    batch = tiny.batch([mixed[1], mixed[0], mixed[2], mixed[0]])
    spliced = model.model.splice(**{k: v for k, v in batch.inputs.items() if k != "attention_mask"})
    for index, row in enumerate([mixed[1], mixed[0], mixed[2], mixed[0]]):
        alone = tiny.batch([row]).inputs
        expected = model.model.splice(**{k: v for k, v in alone.items() if k != "attention_mask"})[0]
        close(spliced[index, : len(expected)], expected)
    flat = batch.inputs | {"input_ids": batch.inputs["input_ids"].reshape(1, -1)}
    packed = model.model.splice(**{k: v for k, v in flat.items() if k != "attention_mask"})
    close(packed.reshape(spliced.shape), spliced)
