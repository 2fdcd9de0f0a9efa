"""Every family of towers and language models: a tiny checkpoint of its real configuration class, trained and saved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers as hf
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.utils import hub

from affectgpt.inputs.batch import supervised_batch
from affectgpt.inputs.reader import EncodedRow
from affectgpt.model import AffectGPTForConditionalGeneration
from affectgpt.model.assemble import add_placeholders, assemble
from affectgpt.model.clip_encoder import ClipEncoder
from affectgpt.model.encoders import feature_width, load_tower
from affectgpt.model.loading import load_model, load_processor
from affectgpt.problems import InputError
from tests.support.models import TEXTS
from train.config.model import LoraSettings
from train.model_setup import add_adapter, freeze_encoders
from train.tiny_model import train_tokenizer

FRAMES, RATE = 4, 16_000
VIT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 99,
    "max_position_embeddings": 32,
}


def clip() -> hf.PreTrainedModel:
    return hf.CLIPModel(hf.CLIPConfig(vision_config={**VIT}, text_config=TEXT, projection_dim=24))


def siglip() -> hf.PreTrainedModel:
    return hf.SiglipModel(hf.SiglipConfig(vision_config=VIT, text_config=TEXT))


def siglip2() -> hf.PreTrainedModel:
    vision = {**VIT, "num_patches": 16}
    return hf.Siglip2Model(hf.Siglip2Config(vision_config=vision, text_config=TEXT))


def dinov2() -> hf.PreTrainedModel:
    return hf.Dinov2Model(hf.Dinov2Config(**VIT, mlp_ratio=2))


def dinov3() -> hf.PreTrainedModel:
    return hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**VIT, num_register_tokens=2))


def videomae() -> hf.PreTrainedModel:
    return hf.VideoMAEModel(hf.VideoMAEConfig(**VIT, num_frames=FRAMES, tubelet_size=2))


def convnextv2() -> hf.PreTrainedModel:
    return hf.ConvNextV2Model(hf.ConvNextV2Config(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], image_size=32))


@torch.no_grad()
def lively(model: hf.PreTrainedModel) -> hf.PreTrainedModel:
    """Give a deep tower weights with which its features do not vanish."""
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.kaiming_normal_(weight)
    return model


STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}


def convnext() -> hf.PreTrainedModel:
    return hf.ConvNextModel(hf.ConvNextConfig(**STAGES, image_size=32))


def regnet() -> hf.PreTrainedModel:
    return hf.RegNetModel(hf.RegNetConfig(**STAGES, embedding_size=8, groups_width=8))


def resnet() -> hf.PreTrainedModel:
    return hf.ResNetModel(hf.ResNetConfig(**STAGES, embedding_size=8))


def mobilenet_v2() -> hf.PreTrainedModel:
    config = hf.MobileNetV2Config(image_size=32, depth_multiplier=0.1, finegrained_output=False)
    return lively(hf.MobileNetV2Model(config))


def levit() -> hf.PreTrainedModel:
    shape = {"hidden_sizes": [16, 24, 32], "depths": [1, 1, 1], "num_attention_heads": [1, 2, 2], "key_dim": [8, 8, 8]}
    return lively(hf.LevitModel(hf.LevitConfig(**shape, image_size=32)))


def poolformer() -> hf.PreTrainedModel:
    return hf.PoolFormerModel(hf.PoolFormerConfig(**STAGES))


def pvt_v2() -> hf.PreTrainedModel:
    return hf.PvtV2Model(hf.PvtV2Config(**STAGES, num_attention_heads=[1, 1, 2, 2], image_size=32))


def swiftformer() -> hf.PreTrainedModel:
    return hf.SwiftFormerModel(hf.SwiftFormerConfig(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1], image_size=32))


def focalnet() -> hf.PreTrainedModel:
    shape = {"embed_dim": 16, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3]}
    return hf.FocalNetModel(hf.FocalNetConfig(**shape, image_size=32))


def swin() -> hf.PreTrainedModel:
    return hf.SwinModel(hf.SwinConfig(embed_dim=16, depths=[1, 1], num_heads=[1, 2], image_size=32, window_size=4))


def registers() -> hf.PreTrainedModel:
    return hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**VIT, mlp_ratio=2))


def vision_processor(kind: str) -> object:
    size = {"height": 32, "width": 32}
    if kind == "clip":
        return hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    if kind == "siglip2":
        return hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    if kind == "videomae":
        return hf.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    if kind == "convnextv2":
        return hf.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0)
    return ViTImageProcessorPil(size=size)


CONV = {"conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (5, 64), "num_feat_extract_layers": 2}
WAVE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 32,
}


def hubert() -> hf.PreTrainedModel:
    return hf.HubertModel(hf.HubertConfig(**WAVE, **CONV))


def wavlm() -> hf.PreTrainedModel:
    return hf.WavLMModel(hf.WavLMConfig(**WAVE, **CONV))


def wav2vec2() -> hf.PreTrainedModel:
    return hf.Wav2Vec2ForCTC(hf.Wav2Vec2Config(**WAVE, **CONV))


def data2vec() -> hf.PreTrainedModel:
    settings = {**WAVE, "num_conv_pos_embeddings": 2}
    del settings["num_conv_pos_embedding_groups"]
    return hf.Data2VecAudioModel(hf.Data2VecAudioConfig(**settings, **CONV, conv_pos_kernel_size=3))


def whisper() -> hf.PreTrainedModel:
    config = hf.WhisperConfig(
        num_mel_bins=16,
        d_model=32,
        encoder_layers=4,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=100,
        max_target_positions=8,
        vocab_size=64,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
    )
    return hf.WhisperForConditionalGeneration(config)


def audio_processor(kind: str) -> object:
    if kind == "whisper":
        return hf.WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    return hf.Wav2Vec2FeatureExtractor(do_normalize=True)


LM = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def language_model(kind: str, vocab_size: int) -> hf.PreTrainedModel:
    settings = {**LM, "vocab_size": vocab_size}
    return {
        "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**settings)),
        "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**settings, head_dim=8, tie_word_embeddings=True)),
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**settings)),
        "gemma3": lambda: hf.Gemma3ForCausalLM(
            hf.Gemma3TextConfig(**settings, head_dim=8, sliding_window=8, final_logit_softcapping=5.0)
        ),
        "phi": lambda: hf.PhiForCausalLM(hf.PhiConfig(**settings)),
        "phi3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**settings)),
        "smollm3": lambda: hf.SmolLM3ForCausalLM(hf.SmolLM3Config(**settings)),
    }[kind]()


VISION = {
    "clip": clip,
    "siglip": siglip,
    "siglip2": siglip2,
    "dinov2": dinov2,
    "dinov3": dinov3,
    "videomae": videomae,
    "convnextv2": convnextv2,
    "registers": registers,
    "convnext": convnext,
    "regnet": regnet,
    "resnet": resnet,
    "mobilenet_v2": mobilenet_v2,
    "levit": levit,
    "poolformer": poolformer,
    "pvt_v2": pvt_v2,
    "swiftformer": swiftformer,
    "focalnet": focalnet,
    "swin": swin,
}
WITH_CLASS_TOKEN = {"clip", "dinov2", "dinov3", "registers"}
"""Families that `vision_pooling: cls` works with; the others refuse it."""
ONE_SHAPE = {*WITH_CLASS_TOKEN, "siglip", "siglip2", "videomae", "focalnet", "levit", "swiftformer", "swin"}
"""Families whose last two hidden layers have one shape, so that their mean can be taken."""
WIDTHS = {"mobilenet_v2": 128}
"""Width of the features where it is not 32."""
AUDIO = {"hubert": hubert, "wavlm": wavlm, "wav2vec2": wav2vec2, "data2vec": data2vec, "whisper": whisper}


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[[str], str]:
    """`make("clip")`: the folder of a tiny checkpoint, made once."""
    root = tmp_path_factory.mktemp("checkpoints")

    def build(kind: str) -> str:
        folder = root / kind
        if not folder.is_dir():
            torch.manual_seed(0)
            if kind in VISION:
                VISION[kind]().save_pretrained(folder)
                vision_processor(kind).save_pretrained(folder)
            elif kind in AUDIO:
                AUDIO[kind]().save_pretrained(folder)
                audio_processor(kind).save_pretrained(folder)
            else:
                tokenizer = train_tokenizer(TEXTS, 300)
                if kind == "gemma3":  # a template that knows no system turn, as Gemma's
                    tokenizer.chat_template = (
                        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
                        + tokenizer.chat_template
                    )
                language_model(kind, len(tokenizer)).save_pretrained(folder)
                tokenizer.save_pretrained(folder)
        return str(folder)

    return build


def media(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 255, (FRAMES, 40, 48, 3), np.uint8)
    return {"face": pictures, "audio": rng.normal(size=int(1.5 * RATE)).astype(np.float32)}


@torch.no_grad()
@pytest.mark.parametrize("kind", VISION)
@pytest.mark.parametrize("pooling", ["pooled", "cls", "mean"])
def test_pictures(make, tmp_path, kind, pooling):
    layers = None if pooling == "pooled" else [-2, -1]
    settings = {"vision_layers": layers, "vision_pooling": pooling, "num_frames": FRAMES}
    refused = None
    if pooling == "cls" and kind not in WITH_CLASS_TOKEN:
        refused = "expected a tower with a class token for vision_pooling: cls"
    elif layers and kind not in ONE_SHAPE:
        refused = r"expected layers of one shape at \[-2, -1\], got layers of the shapes \("
    if refused:
        with pytest.raises(InputError, match=refused) as caught:
            assemble(tmp_path, make("qwen2"), make(kind), **settings)
        assert len(str(caught.value).splitlines()) == 1
        return
    assemble(tmp_path, make("qwen2"), make(kind), **settings)
    encoder = ClipEncoder.from_pretrained(tmp_path)
    tower = encoder.towers["vision"]
    assert not any(module.training for module in tower.modules())
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    found = encoder.encode(media(0))["face_features"]
    model = load_model(tmp_path)
    times = FRAMES // 2 if kind == "videomae" and pooling == "pooled" else found.shape[0]
    assert found.shape == (times, model.model.feature_widths["face"])
    assert found.shape[1] == (24 if (kind, pooling) == ("clip", "pooled") else WIDTHS.get(kind, 32))
    assert not torch.equal(found, encoder.encode(media(1))["face_features"])
    assert torch.equal(found, encoder.encode(media(0))["face_features"])
    if kind == "clip" and pooling == "pooled":  # the published features: CLIP's projected picture vectors
        whole = hf.CLIPModel.from_pretrained(make(kind)).eval()
        pixels = vision_processor(kind)(list(media(0)["face"]), return_tensors="pt")["pixel_values"]
        published = whole.get_image_features(pixel_values=pixels)
        published = getattr(published, "pooler_output", published)
        torch.testing.assert_close(found, published.half().float(), rtol=0, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("kind", AUDIO)
@pytest.mark.parametrize("sampling", ["spans", "windows"])
def test_sound(make, tmp_path, kind, sampling):
    settings = {"audio_layers": [-4, -3, -2, -1], "audio_sampling": sampling, "audio_window_s": 1.0}
    assemble(tmp_path, make("qwen2"), None, make(kind), **settings, num_audio_windows=3)
    encoder = ClipEncoder.from_pretrained(tmp_path)
    found = encoder.encode(media(0))["audio_features"]
    assert found.shape == (3, 32)
    assert torch.isfinite(found).all()
    if kind == "hubert" and sampling == "windows":
        # As published: windows spread evenly, the mean of the last four layers, the mean over time.
        wave = torch.from_numpy(media(0)["audio"])
        windows = torch.stack([wave[start : start + RATE] for start in (0, RATE // 4, RATE // 2)])
        windows = (windows - windows.mean()) / (windows.var(unbiased=False) + 1e-7).sqrt()
        tower = hf.HubertModel.from_pretrained(make(kind)).eval()
        states = tower(windows, output_hidden_states=True).hidden_states
        expected = sum(states[-4:]) / 4
        torch.testing.assert_close(found, expected.mean(1).half().float(), rtol=0, atol=2e-3)
    short = encoder.encode({"audio": media(0)["audio"][:50]})["audio_features"]
    assert short.shape == (3, 32)
    assert torch.isfinite(short).all()


COMBINATIONS = [
    ("qwen2", "clip", "hubert", "attention_paper", "attention_paper", "lora"),
    ("qwen3", "siglip", "wavlm", "attention", "attention", "full"),
    ("llama", "siglip2", "wav2vec2", "qformer", "qformer", "lora"),
    ("gemma3", "dinov2", "data2vec", "mean", "none", "dora"),
    ("phi", "dinov3", "whisper", "attention", "qformer", "full"),
    ("phi3", "videomae", "hubert", "qformer", "attention", "lora"),
    ("smollm3", "clip", "whisper", "attention", "attention", "lora"),
]


@pytest.mark.parametrize(("llm", "vision", "audio", "pooling", "fusion", "how"), COMBINATIONS)
@pytest.mark.parametrize("style", ["chat", "paper"])
def test_trained_saved_and_loaded(make, tmp_path, llm, vision, audio, pooling, fusion, how, style):
    base = tmp_path / "base"
    assemble(
        base,
        make(llm),
        make(vision),
        make(audio),
        prompt_style=style,
        pooling=pooling,
        fusion=fusion,
        visual="both",
        num_frames=FRAMES,
        num_audio_windows=2,
        qformer_hidden_size=16,
    )
    assert sum(file.stat().st_size for file in base.glob("*.safetensors")) < 300_000  # no copy of the language model
    processor, encoder = load_processor(base), ClipEncoder.from_pretrained(base)
    model = load_model(base, trainable=True)
    if how != "full":
        model = add_adapter(model, LoraSettings(r=4, alpha=8, dropout=0.0, dora=how == "dora"))
    freeze_encoders(model)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any("soft_tokens" in name for name in trained)
    assert any("language_model" in name for name in trained)
    assert how == "full" or all("lora_" in name or "soft_tokens" in name for name in trained)

    rows = []
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What does this person feel?"}]
    for seed, lacking in enumerate([(), ("audio",), ("face", "frame", "audio")]):
        seen = {**media(seed), "frame": media(seed + 9)["face"]}
        features = encoder.encode({name: value for name, value in seen.items() if name not in lacking})
        streams = [name.removesuffix("_features") for name in features]
        ids = processor.tokenise(turns, "joy", streams, "I did not expect that.")
        inputs = {name: value[None] for name, value in features.items()}
        rows.append(EncodedRow(str(seed), ids.prompt_ids, ids.target_ids, inputs))
    batch = supervised_batch(rows, processor.tokenizer.pad_token_id)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        losses.append(model(**batch).loss.item())
        expected = model(**inputs).logits
        model.save_pretrained(tmp_path / "trained")
        again = load_model(tmp_path / "trained")
        torch.testing.assert_close(again(**inputs).logits, expected, rtol=0, atol=1e-5)
    assert losses[2] < losses[0]


def test_every_part_is_read_at_its_revision(make, tmp_path, monkeypatch):
    """Local folders have no revisions; which one is asked for is seen where transformers looks for files and loads."""
    folders = {"llm": make("qwen2"), "vision": make("clip"), "audio": make("hubert")}
    asked: dict[str, set[str | None]] = {}
    look = hub.cached_files

    def cached_files(path_or_repo_id, *args, revision=None, **kwargs):
        asked.setdefault(str(path_or_repo_id), set()).add(revision)
        return look(path_or_repo_id, *args, revision=revision, **kwargs)

    def spied(method):
        def from_pretrained(cls, source, *args, **kwargs):
            asked.setdefault(str(source), set()).add(kwargs.get("revision"))
            return method.__func__(cls, source, *args, **kwargs)

        return classmethod(from_pretrained)

    monkeypatch.setattr(hub, "cached_files", cached_files)
    for kind in (hf.PreTrainedModel, hf.GenerationConfig):
        monkeypatch.setattr(kind, "from_pretrained", spied(vars(kind)["from_pretrained"]))
    revisions = {part: f"{part}-7" for part in folders}
    parts = tmp_path / "parts"
    assemble(parts, *folders.values(), revisions=revisions)
    for load in (lambda: None, lambda: load_model(parts), lambda: ClipEncoder.from_pretrained(parts)):
        load()
        for part, folder in folders.items():
            assert asked.pop(folder, {revisions[part]}) == {revisions[part]}
    assert asked


def test_parts_are_loaded_as_they_are_asked_for(make, tmp_path):
    base = Path(shutil.copytree(make("qwen2"), tmp_path / "llm"))
    hf.GenerationConfig(eos_token_id=[5, 7], bos_token_id=3, temperature=0.5, do_sample=True).save_pretrained(base)
    assemble(tmp_path / "parts", str(base), make("clip"), prompt_style="paper")
    model = load_model(tmp_path / "parts", "bfloat16", "eager")
    assert not model.training
    assert {value.dtype for value in model.model.language_model.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in model.model.soft_tokens.parameters()} == {torch.float32}
    assert model.model.language_model.config._attn_implementation == "eager"
    plain = AffectGPTForConditionalGeneration.from_pretrained(tmp_path / "parts", attn_implementation="eager")
    assert plain.model.language_model.config._attn_implementation == "eager"
    processor = load_processor(tmp_path / "parts")
    assert (processor.prompt_style, processor.tokenizer.padding_side) == ("paper", "left")
    # Every end of the language model and of its tokenizer ends an answer; how to draw is left to the caller.
    settings = model.generation_config
    assert settings.eos_token_id == [5, 7, processor.tokenizer.eos_token_id]
    assert (settings.bos_token_id, settings.pad_token_id) == (3, processor.tokenizer.pad_token_id)
    assert not settings.do_sample


def test_new_soft_tokens_depend_on_the_seed_alone(make, tmp_path):
    from safetensors.torch import load_file

    def made(name: str, seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(len(name))  # what was drawn before does not matter
        assemble(tmp_path / name, make("qwen2"), make("clip"), seed=seed)
        return load_file(tmp_path / name / "soft_tokens.safetensors")

    one, again, other = made("one", 4), made("again", 4), made("other", 5)
    assert all(torch.equal(again[name], value) for name, value in one.items())
    assert not all(torch.equal(other[name], value) for name, value in one.items())


def test_a_tokenizer_without_padding_pads_with_its_end_token():
    tokenizer = train_tokenizer(TEXTS, 300)
    tokenizer.pad_token = None
    add_placeholders(tokenizer, SimpleNamespace(num_tokens={"face": 1}))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def test_a_language_model_with_logits_of_its_own_is_refused(make, tmp_path):
    tokenizer = train_tokenizer(TEXTS, 300)
    config = hf.GraniteConfig(**LM, vocab_size=len(tokenizer), logits_scaling=3.0)
    hf.GraniteForCausalLM(config).save_pretrained(tmp_path / "llm")
    tokenizer.save_pretrained(tmp_path / "llm")
    assemble(tmp_path / "parts", str(tmp_path / "llm"), make("clip"))
    with pytest.raises(InputError, match=r"a granite computes logits from hidden states in its own way"):
        load_model(tmp_path / "parts")


@pytest.mark.parametrize("kind", ["hubert", "dinov2"])
def test_towers_are_loaded_in_full_precision_and_frozen(make, tmp_path, kind):
    half = Path(shutil.copytree(make(kind), tmp_path / kind))
    hf.AutoModel.from_pretrained(half, dtype=torch.float16).save_pretrained(half)
    tower = load_tower(str(half))
    assert {value.dtype for value in tower.parameters()} == {torch.float32}
    assert not any(value.requires_grad for value in tower.parameters())
    assert {value.dtype for value in load_tower(str(half), dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pictures_are_the_mean_of_the_layers_that_are_named(make, tmp_path, pooling):
    settings = {"vision_layers": [-3, -1], "vision_pooling": pooling, "num_frames": FRAMES}
    assemble(tmp_path, make("qwen2"), make("dinov2"), **settings)
    encoder = ClipEncoder.from_pretrained(tmp_path)
    found = encoder.encode(media(0))["face_features"]
    pixels = encoder.processor.pictures(media(0)["face"])
    states = hf.Dinov2Model.from_pretrained(make("dinov2")).eval()(**pixels, output_hidden_states=True).hidden_states
    layers = (states[-3] + states[-1]) / 2
    expected = layers[:, 0] if pooling == "cls" else layers.mean(1)
    torch.testing.assert_close(found, expected.half().float(), rtol=0, atol=2e-3)


def test_weights_that_are_missing_are_named(make, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = Path(make("hubert"))
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    del weights["encoder.layer_norm.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 are missing, such as encoder\.layer_norm\.weight"):
        assemble(tmp_path / "parts", make("qwen2"), None, str(broken))


@torch.no_grad()
@pytest.mark.parametrize("kind", [kind for kind in VISION if kind not in {"siglip2", "videomae"}])
def test_the_mean_is_that_over_all_positions(make, tmp_path, kind):
    assemble(tmp_path, make("qwen2"), make(kind), vision_pooling="mean", num_frames=FRAMES)
    encoder = ClipEncoder.from_pretrained(tmp_path)
    found = encoder.encode(media(0))["face_features"]
    states = encoder.towers["vision"](**encoder.processor.pictures(media(0)["face"])).last_hidden_state
    expected = states.mean((2, 3)) if states.ndim == 4 else states.mean(1)
    torch.testing.assert_close(found, expected.half().float(), rtol=0, atol=2e-3)
    assert load_model(tmp_path).model.feature_widths["face"] == expected.shape[1]


@torch.no_grad()
@pytest.mark.parametrize("kind", VISION)
def test_a_still_is_what_it_would_be_if_it_were_filmed(make, tmp_path, kind):
    assemble(tmp_path, make("qwen2"), make(kind), num_frames=FRAMES)
    encoder = ClipEncoder.from_pretrained(tmp_path)
    still = media(0)["face"][:1]
    found = encoder.encode({"face": still})["face_features"]
    filmed = encoder.encode({"face": still.repeat(FRAMES, axis=0)})["face_features"]
    assert found.shape == filmed.shape
    torch.testing.assert_close(found, filmed, rtol=0, atol=2e-3)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "layer", "width"), [("convnext", 1, 8), ("swin", 0, 16), ("mobilenet_v2", -1, 32)])
def test_one_layer_of_a_tower_with_stages_has_the_width_of_its_stage(make, tmp_path, kind, layer, width):
    assemble(tmp_path, make("qwen2"), make(kind), vision_layers=[layer], num_frames=FRAMES)
    found = ClipEncoder.from_pretrained(tmp_path).encode(media(0))["face_features"]
    assert found.shape == (FRAMES, width)
    assert load_model(tmp_path).model.feature_widths["face"] == width


@pytest.mark.parametrize("kind", ["dinov2", "convnext", "hubert"])
def test_layers_that_a_tower_lacks_are_refused(make, tmp_path, kind):
    if kind == "hubert":
        assemble(tmp_path, make("qwen2"), None, make(kind), audio_layers=[-9])
        with pytest.raises(InputError, match=r"hubert: expected layers of one shape at \[-9\], got 5 layers"):
            ClipEncoder.from_pretrained(tmp_path).encode(media(0))
        return
    with pytest.raises(InputError, match=rf"{kind}: expected layers of one shape at \[-9\], got \d layers"):
        assemble(tmp_path, make("qwen2"), make(kind), vision_layers=[-9])


def test_a_tower_that_gives_no_features_of_a_picture_is_refused(make, tmp_path):
    folder = Path(shutil.copytree(make("hubert"), tmp_path / "sound"))
    vision_processor("dinov2").save_pretrained(folder)
    with pytest.raises(InputError, match=r"hubert: expected features of a picture from the vision tower, got an error"):
        assemble(tmp_path / "parts", make("qwen2"), str(folder))


def test_a_tower_of_unknown_width_is_refused():
    with pytest.raises(InputError, match=r"efficientnet: expected hidden_size .* Give its family a line in FAMILIES"):
        feature_width(hf.EfficientNetConfig())


def test_a_tower_that_is_not_the_one_trained_with_is_refused(make, tmp_path):
    assemble(tmp_path / "parts", make("qwen2"), make("dinov2"), num_frames=FRAMES)
    other = tmp_path / "parts" / "vision"
    torch.manual_seed(1)
    dinov2().save_pretrained(other)
    with pytest.raises(InputError, match="expected the vision tower that the model was trained with"):
        ClipEncoder.from_pretrained(tmp_path / "parts")


def test_a_model_of_more_than_text_is_no_language_model(make, tmp_path):
    with pytest.raises(InputError, match="expected a text-only language model"):
        assemble(tmp_path, make("clip"))
