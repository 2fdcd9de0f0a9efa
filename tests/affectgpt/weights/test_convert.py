import json
import re

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import gelu, layer_norm, linear
from transformers import (
    AutoConfig,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    HubertConfig,
    HubertModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Wav2Vec2FeatureExtractor,
)

from affectgpt.inference.assistant import Assistant
from affectgpt.model import AffectGPTConfig
from affectgpt.model.loading import load_model, load_processor
from affectgpt.problems import InputError
from affectgpt.prompts import PAPER
from affectgpt.weights.command import release_main
from affectgpt.weights.convert import convert_release, read_checkpoint, read_wording
from affectgpt.weights.export import export
from affectgpt.weights.released import convert, settings_of
from train.tiny_model import train_tokenizer

LLM = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.1,
    "max_position_embeddings": 512,
}
FULL_LLM = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
}
QUESTION = "What does this person feel?"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders of a language model (Qwen2), a vision tower (CLIP) and an audio tower (HuBERT)."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    tokenizer = train_tokenizer([QUESTION, "The person seems glad."], 300)
    tokenizer.save_pretrained(folder / "llm")
    Qwen2ForCausalLM(Qwen2Config(**LLM, vocab_size=len(tokenizer))).save_pretrained(folder / "llm")
    clip = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        projection_dim=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    CLIPVisionModelWithProjection(clip).save_pretrained(folder / "vision")
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        folder / "vision"
    )
    hubert = HubertConfig(
        hidden_size=40,
        intermediate_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        conv_dim=(8, 8),
        conv_kernel=(10, 8),
        conv_stride=(10, 8),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    HubertModel(hubert).save_pretrained(folder / "audio")
    Wav2Vec2FeatureExtractor().save_pretrained(folder / "audio")
    return {part: str(folder / part) for part in ("llm", "vision", "audio")}


def modules_of(variant, llm, video, audio, width):
    """Released module -> (outputs, inputs), or the shape of a parameter."""
    common, out = max(video, audio), llm["hidden_size"]
    modules = {
        "affectgpt_proj": (out, video),
        "audio_llama_proj": (out, audio),
        "multi_llama_proj": (out, common),
        "multi_video_embs": (common, video),
        "multi_audio_embs": (common, audio),
        "image_llama_proj": (out, video),
    }
    if variant == "attention":
        return modules | {
            "video_attention_mlp": (1, video),
            "audio_attention_mlp": (1, audio),
            "attention_mlp": (common, 2 * common),
            "fc_att": (2, common),
        }
    return modules | dict.fromkeys(("affectgpt_proj", "audio_llama_proj", "multi_llama_proj"), (out, width))


def qformer_of(prefix, hidden, encoder, queries, positions, position_name):
    """Names and shapes of a released Q-Former of two layers."""
    shapes = {f"{prefix}_query_tokens": (1, queries, hidden), f"{position_name}.weight": (positions, encoder)}
    root = f"{prefix}_Qformer.bert"

    def add(name, outputs, inputs):
        shapes[f"{root}.{name}.weight"], shapes[f"{root}.{name}.bias"] = (outputs, inputs), (outputs,)

    def add_norm(name):
        shapes[f"{root}.{name}.weight"] = shapes[f"{root}.{name}.bias"] = (hidden,)

    add_norm("embeddings.LayerNorm")
    for layer in range(2):
        for kind, inputs in (("attention", hidden), ("crossattention", encoder)):
            start = f"encoder.layer.{layer}.{kind}"
            add(f"{start}.self.query", hidden, hidden)
            add(f"{start}.self.key", hidden, inputs)
            add(f"{start}.self.value", hidden, inputs)
            add(f"{start}.output.dense", hidden, hidden)
            add_norm(f"{start}.output.LayerNorm")
        start = f"encoder.layer.{layer}"
        add(f"{start}.intermediate_query.dense", 4 * hidden, hidden)
        add(f"{start}.output_query.dense", hidden, 4 * hidden)
        add_norm(f"{start}.output_query.LayerNorm")
    return shapes


def released(variant, llm=LLM, video=24, audio=40, rank=4, width=128, device="cpu"):
    """Weights by their published names, drawn at random."""
    shapes = {}
    for name, (outputs, inputs) in modules_of(variant, llm, video, audio, width).items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)
    if variant == "qformer":
        shapes |= qformer_of("video", width, video, 3, 32, "video_frame_position_embedding")
        shapes |= qformer_of("audio", width, audio, 2, 8, "audio_position_embedding")
        shapes |= qformer_of("multi", width, max(video, audio), 2, 264, "multi_position_embedding")
    hidden, inner = llm["hidden_size"], llm["intermediate_size"]
    narrow = hidden // llm["num_attention_heads"] * llm["num_key_value_heads"]
    linears = {f"self_attn.{name}_proj": (hidden if name in "qo" else narrow, hidden) for name in "qkvo"}
    linears |= {"mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
    for layer in range(llm["num_hidden_layers"]):
        for name, (outputs, inputs) in linears.items():
            start = f"llama_model.base_model.model.model.layers.{layer}.{name}.lora_"
            shapes[f"{start}A.default.weight"] = (rank, inputs)
            shapes[f"{start}B.default.weight"] = (outputs, rank)
    torch.manual_seed(1)
    return {name: 0.1 * torch.randn(shape, device=device) for name, shape in shapes.items()}


@pytest.fixture
def convert_file(parts, tmp_path):
    """Convert a state dict by the command; gives the folder."""

    def call(state, *argv, **rest):
        torch.save({"model": state, "epoch": 60, **rest}, tmp_path / "released.pth")
        given = [tmp_path / "released.pth", "--out", tmp_path / "out"]
        for part, place in parts.items():
            given += [f"--{part}", place]
        assert release_main([*map(str, given), *map(str, argv)]) == 0
        return tmp_path / "out"

    return call


class Plain:
    """The published formulas, fed by the published names."""

    def __init__(self, state):
        self.state = state

    def linear(self, name, value):
        return linear(value, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, name, value):
        return layer_norm(value, value.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"], 1e-12)

    def attend(self, name, queries, values):
        q = self.linear(f"{name}.self.query", queries).unflatten(-1, (-1, 64)).transpose(0, 1)
        k, v = (
            self.linear(f"{name}.self.{part}", values).unflatten(-1, (-1, 64)).transpose(0, 1)
            for part in ("key", "value")
        )
        mixed = ((q @ k.transpose(1, 2) / 8).softmax(-1) @ v).transpose(0, 1).flatten(1)
        return self.norm(f"{name}.output.LayerNorm", self.linear(f"{name}.output.dense", mixed) + queries)

    def qformer(self, prefix, position, features):
        features = features + self.state[f"{position}.weight"][: len(features)]
        root = f"{prefix}_Qformer.bert"
        hidden = self.norm(f"{root}.embeddings.LayerNorm", self.state[f"{prefix}_query_tokens"][0])
        for layer in range(2):
            start = f"{root}.encoder.layer.{layer}"
            hidden = self.attend(f"{start}.attention", hidden, hidden)
            hidden = self.attend(f"{start}.crossattention", hidden, features)
            inner = gelu(self.linear(f"{start}.intermediate_query.dense", hidden))
            hidden = self.norm(
                f"{start}.output_query.LayerNorm", self.linear(f"{start}.output_query.dense", inner) + hidden
            )
        return hidden

    def attention_tokens(self, video, audio):
        def pooled(name, value):
            return (self.linear(name, value).T @ value)[0]

        v = self.linear("multi_video_embs", video.mean(0))
        a = self.linear("multi_audio_embs", audio.mean(0))
        alpha = self.linear("fc_att", self.linear("attention_mlp", torch.cat([v, a])))
        return {
            "face": self.linear("affectgpt_proj", pooled("video_attention_mlp", video)),
            "audio": self.linear("audio_llama_proj", pooled("audio_attention_mlp", audio)),
            "multi": self.linear("multi_llama_proj", alpha[0] * v + alpha[1] * a),
        }

    def qformer_tokens(self, video, audio):
        both = torch.cat([self.linear("multi_video_embs", video), self.linear("multi_audio_embs", audio)])
        return {
            "face": self.linear("affectgpt_proj", self.qformer("video", "video_frame_position_embedding", video)),
            "audio": self.linear("audio_llama_proj", self.qformer("audio", "audio_position_embedding", audio)),
            "multi": self.linear("multi_llama_proj", self.qformer("multi", "multi_position_embedding", both)),
        }


@torch.no_grad()
@pytest.mark.parametrize("variant", ["attention", "qformer"])
def test_a_released_checkpoint_gives_the_published_soft_tokens(variant, parts, convert_file, capsys):
    state = released(variant)
    frozen = {"visual_encoder.x": torch.ones(1), "acoustic_encoder.y": torch.ones(1)}
    folder = convert_file(state | frozen, "--json")
    out, err = capsys.readouterr()
    report = json.loads(out)
    kind = {"attention": "attention_paper", "qformer": "qformer"}[variant]
    assert (report["pooling"], report["fusion"], report["lora_rank"]) == (kind, kind, 4)
    assert {"visual_encoder.x", "acoustic_encoder.y", "image_llama_proj.weight"} <= set(report["dropped"])
    assert "Left out as unused: image_llama_proj, visual_encoder, acoustic_encoder" in err
    assert "answers will differ" in err

    model = load_model(folder)
    video, audio = torch.randn(8, 24), torch.randn(8, 40)
    soft_tokens = model.get_base_model().model.soft_tokens
    got = soft_tokens({"face": video[None], "audio": audio[None]}, torch.zeros(1, 2, dtype=torch.long))
    expected = getattr(Plain(state), f"{variant}_tokens")(video, audio)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name][0].squeeze(0), value.squeeze(0), atol=1e-5, rtol=1e-4)


def test_an_adapter_has_the_strength_that_is_told_and_full_precision(convert_file):
    folder = convert_file({name: value.half() for name, value in released("attention").items()}, "--lora-alpha", "8")
    assert json.loads((folder / "adapter_config.json").read_text())["lora_alpha"] == 8
    weights = load_file(folder / "adapter_model.safetensors")
    assert {value.dtype for name, value in weights.items() if "soft_tokens" in name} == {torch.float32}


@pytest.mark.parametrize("variant", ["attention", "qformer"])
def test_the_settings_are_those_of_the_release(convert_file, variant):
    config = AutoConfig.from_pretrained(convert_file(released(variant)) / "parts")
    assert (config.visual, config.share_visual, config.num_frames, config.vision_pooling) == ("face", True, 8, "pooled")
    assert (config.audio_sampling, config.num_audio_windows, config.audio_window_s) == ("windows", 8, 2.0)
    assert config.audio_layers == [-4, -3, -2, -1]
    assert config.vision_layers is None


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(InputError, match="--out: expected a name that is free"):
        convert_release(tmp_path / "gone.pth", tmp_path, "llm", "vision", "audio")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@torch.no_grad()
def test_lora_lands_on_the_modules_of_its_name(parts, convert_file):
    state = released("attention")
    model = load_model(convert_file(state))
    plain = Qwen2ForCausalLM.from_pretrained(parts["llm"])
    for name, module in plain.model.named_modules():
        if isinstance(module, nn.Linear):
            a, b = (state[f"llama_model.base_model.model.model.{name}.lora_{part}.default.weight"] for part in "AB")
            module.weight += 32 / 4 * b @ a
    ids = torch.arange(5, 15)[None]
    torch.testing.assert_close(model(input_ids=ids).logits, plain(input_ids=ids).logits, atol=1e-4, rtol=1e-4)


def test_it_can_be_asked_moved_exported_and_trained_on(convert_file, tmp_path):
    folder = convert_file(released("attention"))
    folder = folder.rename(tmp_path / "elsewhere")
    assistant = Assistant.from_pretrained(folder)
    rng = torch.Generator().manual_seed(0)
    features = assistant.encode(
        video=torch.randint(0, 255, (4, 48, 40, 3), dtype=torch.uint8, generator=rng).numpy(),
        audio=torch.randn(8000, generator=rng).numpy(),
    )
    assert {name: tuple(value.shape) for name, value in features.items()} == {
        "face_features": (8, 24),
        "audio_features": (8, 40),
    }
    assert assistant.ask(QUESTION, features=features, max_new_tokens=4) is not None
    assert export(folder, tmp_path / "whole")["max_difference"] < 1e-4
    model = load_model(folder, trainable=True)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert any("lora_A" in name for name in trained)
    assert any("soft_tokens" in name for name in trained)
    model.save_pretrained(tmp_path / "next")
    load_model(tmp_path / "next")


def test_the_wording_of_the_release(convert_file, tmp_path, capsys):
    words = {"human": "Q: ", "audio": "Hear <A>{audio}</A>. "}
    (tmp_path / "words.json").write_text(json.dumps(words))
    folder = convert_file(released("attention"), "--wording", tmp_path / "words.json")
    assert "answers will differ" not in capsys.readouterr().err
    for place in (folder, folder / "parts"):
        processor = load_processor(place)
        assert processor.wording == PAPER | words
        text = processor.render([{"role": "user", "content": QUESTION}], ("face", "audio"))
        assert text.startswith("Q: ")
        assert "Hear <A><|audio|></A>." in text


def test_a_wording_that_cannot_be_filled(tmp_path):
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"humn": "x", "face": "no place", "audio": "{audio} {x}", "stop": "", "multi": "{"}))
    with pytest.raises(InputError) as caught:
        read_wording(path)
    assert len(caught.value.problems) == 5
    assert "Did you mean 'human'?" in str(caught.value)


def test_everything_wrong_is_listed_at_once(parts, convert_file, tmp_path):
    state = released("attention")
    del state["fc_att.bias"]
    del state["llama_model.base_model.model.model.layers.1.mlp.up_proj.lora_A.default.weight"]
    state["affectgpt_proj.weight"] = torch.zeros(32, 25)
    state["fc_att.extra"] = state["something.new"] = torch.zeros(1)
    with pytest.raises(InputError) as caught:
        convert_file(state)
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    assert "weights for fuse.weigh.bias: expected shape (2,), got none" in text
    assert "weights for layers.1.mlp.up_proj.lora_A: expected shape (4, 32), got none" in text
    assert re.search(r"affectgpt_proj.weight \(ours.*\): expected shape \(32, 24\), got shape \(32, 25\)", text)
    assert "something.new: expected only known weights" in text
    assert "fc_att.extra" in text
    assert not (tmp_path / "out").exists()


def test_without_lora_or_with_mixed_variants(convert_file):
    state = released("attention")
    with pytest.raises(InputError, match="expected LoRA weights"):
        convert_file({name: value for name, value in state.items() if "lora" not in name})
    with pytest.raises(InputError, match="video by attention_paper and audio by mean"):
        convert_file({name: value for name, value in state.items() if "audio_attention_mlp" not in name})


def test_only_tensors_are_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "evil.pth"
    torch.save({"model": {}, "config": Evil()}, path)
    with pytest.raises(InputError, match=r"could run code.*Refused"):
        read_checkpoint(path)
    path.write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(InputError, match="not a whole torch file"):
        read_checkpoint(path)
    torch.save({"weights": {}}, path)
    with pytest.raises(InputError, match="under 'model', got keys weights"):
        read_checkpoint(path)


def test_the_published_shapes():
    """CLIP ViT-L/14, HuBERT-large and Qwen2.5-7B, without memory for any of it."""
    state = released("attention", FULL_LLM, 768, 1024, rank=16, device="meta")
    config = AffectGPTConfig(
        text_config=Qwen2Config(**FULL_LLM),
        vision_config=CLIPVisionConfig(hidden_size=1024, num_attention_heads=16, projection_dim=768),
        audio_config=HubertConfig(hidden_size=1024, num_attention_heads=16, num_hidden_layers=24),
        **settings_of(state),
    )
    converted = convert(state, config)
    assert sum(value.numel() for value in converted.lora.values()) == 40_370_176
    assert sum(value.numel() for value in converted.soft_tokens.values()) == 14_042_372
    assert sum(state[name].numel() for name in converted.dropped) == 2_756_096
    assert len(converted.targets) == 28 * 7
