"""Extraction of labels by a language model: a local one through transformers or vLLM, or one behind a URL.

`PROMPT_VERSION` fixes the prompt, decoding is greedy, and labels are read strictly: an answer that is not in the
required format counts as a text that the extractor gave up on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from affectgpt.emotions.lemmas import tidy
from affectgpt.emotions.sentiment import read_sentiment
from affectgpt.emotions.written import answer_of
from affectgpt.llm.endpoint import ChatEndpoint
from affectgpt.problems import InputError, Problem, nearest, shorten
from affectgpt.prompt_safety import defuse, markers, special_tokens

PROMPT_VERSION = "1"
"""Version of `PROMPTS` and of the reading of answers; labels of different versions are not comparable."""
PROMPTS = {
    "labels": """\
Below is a description of how a person in a video comes across. Which emotions does it say this person has?
Write them as a comma-separated list in square brackets, each in one or two English words, in the description's wording.
Leave out what it denies, and the feelings of other people. Write [] if it names no emotion. Write nothing else.

Description: She says it does not bother her, yet she sounds hurt and somewhat bitter.
Emotions: [hurt, bitter]

Description: A man in a blue coat reads out the opening hours.
Emotions: []

Description: {text}
Emotions:""",
    "sentiment": """\
A person in a video comes across like this: {text}

Is that positive, negative or neutral on the whole? Reply with one of these three words and nothing else.""",
}
Question = Literal["labels", "sentiment"]
Engine = Literal["transformers", "vllm"]
Complete = Callable[[Sequence[str]], list[str]]
"""Function from prompts to a model's completions."""

LONGEST = 8_000
"""Most characters of a text that the model is shown."""
_NEW_TOKENS = 128
_MARKERS = markers()
_LIST = re.compile(r"\[([^\[\]]{0,4000})\]")


class LlmExtractor:
    """Extractor that asks a language model; `question="sentiment"` asks for one of three labels instead of emotions.

    Args:
        model: folder or Hub id of a causal language model; with `url`, its name there.
        url: base URL of an OpenAI-compatible server.
        question: a key of `PROMPTS`.
        engine: engine of a local model; if None, vLLM where it is installed, else transformers.
        complete: function that replaces all of the above; then `model` is only a name.

    Raises:
        InputError: the model cannot be loaded, or the URL cannot be used.
    """

    name = "llm"
    version = PROMPT_VERSION

    def __init__(
        self,
        model: str,
        url: str | None = None,
        question: Question = "labels",
        engine: Engine | None = None,
        batch_size: int = 16,
        complete: Complete | None = None,
    ) -> None:
        if question not in PROMPTS:
            raise InputError(Problem("LLM", "question", "a known one", shorten(question), nearest(question, PROMPTS)))
        self.settings: Mapping[str, object] = {"model": _identity(model, url), "question": question}
        self._question: Question = question
        if complete is not None:
            self._complete = complete
        elif url is not None:
            self._complete = ChatEndpoint(url, model, max_tokens=_NEW_TOKENS).complete
        else:
            self._complete = _load(model, engine or ("vllm" if find_spec("vllm") else "transformers"), batch_size)

    def extract(self, texts: Sequence[str]) -> list[list[str] | None]:
        """Return the labels of each text; an empty text has none, and the model is not asked."""
        read = read_labels if self._question == "labels" else _read_one_sentiment
        shown = {at: text for at, raw in enumerate(texts) if (text := _shown(raw or ""))}
        prompts = [PROMPTS[self._question].replace("{text}", text) for text in shown.values()]
        answers = self._complete(prompts) if prompts else []
        labels: list[list[str] | None] = [["neutral"] if self._question == "sentiment" else [] for _ in texts]
        for at, answer in zip(shown, answers, strict=True):
            labels[at] = read(answer)
        return labels


def _shown(text: str) -> str:
    """Make a text safe for a prompt: one line, cut, without text that no tokenizer takes or that could end a turn."""
    return defuse(" ".join(answer_of(text)[:LONGEST].encode("utf-8", "replace").decode().split()), _MARKERS)


def read_labels(answer: str) -> list[str] | None:
    """Read the bracketed list that an answer begins with; None if there is none.

    >>> read_labels("[Happy, 'a bit tense']"), read_labels("[]"), read_labels("I cannot say.")
    (['happy', 'a bit tense'], [], None)
    """
    match = _LIST.search(answer_of(answer))
    if match is None:
        return None
    return list(dict.fromkeys(label for label in map(tidy, re.split(r"[,;\"\n]", match.group(1))) if label))


def _read_one_sentiment(answer: str) -> list[str] | None:
    sentiment = read_sentiment(answer_of(answer).strip())
    return None if sentiment is None else [sentiment]


def _identity(model: str, url: str | None) -> object:
    """Return a model's identity for the cache: for a folder, the names, sizes and times of its files."""
    if url is not None:
        return [url, model]
    if not Path(model).is_dir():
        return model
    files = sorted(path for path in Path(model).iterdir() if path.is_file())
    return [str(Path(model).resolve()), *([file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files)]


def _load(model: str, engine: Engine, batch_size: int) -> Complete:
    engines = {"transformers": _transformers, "vllm": _vllm}
    if engine not in engines:
        raise InputError(Problem("LLM", "engine", "a known one", shorten(engine), nearest(engine, engines)))
    try:
        return engines[engine](model, batch_size)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(Problem("LLM", f"engine {engine}", "its package", str(error), "Install it.")) from error
    except (OSError, ValueError, KeyError) as error:
        expected = "a causal language model's folder or Hub id"
        raise InputError(Problem("LLM", f"model {model}", expected, shorten(str(error), 300))) from error


def _transformers(model: str, batch_size: int) -> Complete:
    import torch
    from transformers import PreTrainedTokenizerBase

    from affectgpt.model.loading import load_model, load_processor

    device = "cuda" if torch.cuda.is_available() else "cpu"
    language_model: Any = load_model(model).to(device).eval()  # type: ignore[arg-type]
    tokenizer: Any = load_processor(model)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(Problem("LLM", f"model {model}", "one that reads text alone", type(tokenizer).__name__))
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    special = special_tokens(tokenizer)

    @torch.no_grad()
    def complete(prompts: Sequence[str]) -> list[str]:
        answers: list[str] = []
        for start in range(0, len(prompts), batch_size):
            texts = [as_turn(tokenizer, defuse(prompt, special)) for prompt in prompts[start : start + batch_size]]
            batch = tokenizer(
                texts, return_tensors="pt", padding=True, add_special_tokens=tokenizer.chat_template is None
            )
            inputs = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
            output = language_model.generate(
                **inputs, max_new_tokens=_NEW_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
            tokens = output[:, inputs["input_ids"].shape[1] :]
            answers += tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return answers

    return complete


def as_turn(tokenizer: Any, prompt: str) -> str:
    """Render a prompt as the user's turn of a chat, ready for the answer; unchanged without a chat template."""
    if tokenizer.chat_template is None:
        return prompt
    turn = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False))


def _vllm(model: str, batch_size: int) -> Complete:
    from vllm import LLM, SamplingParams  # type: ignore

    engine = LLM(model, max_num_seqs=max(batch_size, 1))
    tokenizer = engine.get_tokenizer()
    special = special_tokens(tokenizer)
    greedy = SamplingParams(temperature=0.0, max_tokens=_NEW_TOKENS)

    def complete(prompts: Sequence[str]) -> list[str]:
        turns = [as_turn(tokenizer, defuse(prompt, special)) for prompt in prompts]
        outputs = engine.generate(turns, greedy, use_tqdm=False)
        return [output.outputs[0].text for output in outputs]

    return complete
