"""Conclusions of a run in words: each sentence is computed from figures of report.json, and stands only on these.

A difference counts as seen if its paired interval leaves out zero or, where nothing is paired, if two intervals do not
overlap. Otherwise the sentence says that no difference can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eval.report.glossary import is_taught, term_of
from eval.report.html import percent, percent_range, plain, plain_range
from eval.report.run_folder import value_of

FEW_SPEAKERS = 10
"""Number of speakers under which an interval says little."""
NEAR = 0.5
"""Share of the way from the constant answer to 100 % under which a score counts as near the constant answer."""
MODALITIES = {"video_only": "pictures", "audio_only": "sound", "text_only": "words"}


def findings(report: Mapping[str, Any]) -> list[str]:
    """Return the conclusions that the figures of a report carry, the most important ones first."""
    stages = [stage for stage in report.get("stages", []) if stage.get("answers_clips", True) and stage.get("metrics")]
    found = [*_few_speakers(report)]
    if stages:
        found += _against_constant(report, stages[-1])
        found += _between_stages(report)
        found += _modalities(report, stages[-1])
    for stage in report.get("stages", []):
        if stage.get("empathy"):
            found += _plugins(stage["name"], stage["empathy"])
    return found


def _few_speakers(report: Mapping[str, Any]) -> Iterator[str]:
    test = report.get("data", {}).get("test", {})
    speakers = test.get("actors")
    if test.get("rows") and isinstance(speakers, int) and 0 < speakers < FEW_SPEAKERS:
        if speakers == 1:
            rough = "1 person. Nothing tells how another would score, so there are no intervals"
        else:
            rough = f"{speakers} people. Under {FEW_SPEAKERS}, intervals are rough and mostly too narrow"
        yield f"Few speakers: the test clips are of {rough}; the figures say little about other people."


def _against_constant(report: Mapping[str, Any], stage: Mapping[str, Any]) -> Iterator[str]:
    """Compare the last stage with the answer that is most frequent in training."""
    baselines: dict[str, Any] = next(iter(report.get("baselines", {}).values()), {})
    compared = report.get("comparisons", {}).get("constant answer", {})
    for name, difference in compared.items():
        term, metric, constant = term_of(name), stage["metrics"].get(name), value_of(baselines.get(name))
        value = value_of(metric)
        if value is None or not is_taught(stage, name):
            continue
        write, spread = (percent, percent_range) if term.unit == "share" else (plain, plain_range)
        unit = " %" if term.unit == "share" else ""
        score = f"{term.title}: {write(value)}{unit}"
        if constant is None or value_of(difference) is None:
            yield f"{score} (95 %: {spread(metric['low'], metric['high'])}); the constant answer has no such score."
            continue
        beside = f"always giving the most frequent answer reaches {write(constant)}{unit}"
        by = _signed(difference, term.unit)
        if not _is_seen(difference):
            yield f"{score}; {beside}. No difference can be seen ({by}): it is not shown that the clip matters."
        elif (difference["value"] < 0) != term.lower_is_better:
            yield f"{score}; {beside}. The model is worse than that ({by})."
        else:
            way = (value - constant) / (1 - constant) if term.unit == "share" and constant < 1 else 1.0
            near = f" It goes only {percent(way)} % of the way from there to 100 %." if way < NEAR else ""
            yield f"{score}; {beside}. The difference is more than chance ({by}).{near}"


def _between_stages(report: Mapping[str, Any]) -> Iterator[str]:
    """Say what each stage made better and worse of what had been taught before it."""
    for step in report.get("comparisons", {}).get("stages", []):
        seen = {"better": [], "worse": []}  # type: dict[str, list[str]]
        for name, difference in step["differences"].items():
            if _is_seen(difference):
                better = (difference["value"] > 0) != term_of(name).lower_is_better
                title = term_of(name).title
                seen["better" if better else "worse"].append(f"{title} ({_signed(difference, term_of(name).unit)})")
        sentences = [f"{word}: {', '.join(names)}" for word, names in seen.items() if names]
        if sentences:
            yield f"Stage {step['second']} against {step['first']}, on the same clips: {'; '.join(sentences)}."
        elif step["differences"]:
            names = ", ".join(term_of(name).title for name in step["differences"])
            yield f"Stage {step['second']} against {step['first']}: no difference can be seen ({names})."


def _modalities(report: Mapping[str, Any], stage: Mapping[str, Any]) -> Iterator[str]:
    ablations = report.get("ablations", {})
    names = [name for name in MODALITIES if name in ablations]
    if not names:
        return
    whole = ablations.get("full", stage["metrics"])
    for score in ("emotion_uar", "emotion_label_uar", "tree_similarity"):
        values = {
            name: ablations[name].get(score) for name in names if value_of(ablations[name].get(score)) is not None
        }
        if value_of(whole.get(score)) is None or not values:
            continue
        alone = ", ".join(f"{percent(metric['value'])} with {MODALITIES[name]}" for name, metric in values.items())
        below = all(_below(metric, whole[score]) for metric in values.values())
        verdict = "no single modality is enough" if below else "at least one of them alone does as well, as far as seen"
        together = percent(whole[score]["value"])
        yield f"{term_of(score).title} by modality: {together} % with all, {alone} alone; {verdict}."
        return


def _plugins(stage: str, found: Mapping[str, Any]) -> Iterator[str]:
    """Say what plugins add in stage `stage`, and whether it is their evidence that adds it."""
    conditions, over = found.get("conditions", {}), found.get("over_no_plugin", {})
    told, bare = conditions.get("plugin", {}).get("accuracy"), conditions.get("no_plugin", {}).get("accuracy")
    if value_of(told) is None or value_of(bare) is None:
        return
    gain = over.get("plugin")
    if gain and value_of(gain) is not None:
        verdict = "plugins help" if gain["value"] > 0 else "plugins harm"
        verdict = verdict if _is_seen(gain) else "no difference can be seen"
        yield (
            f"Plugins ({stage}): the model names {percent(told['value'])} % of the emotions with them, "
            f"{percent(bare['value'])} % by itself ({_signed(gain, 'share')}): {verdict}."
        )
    alone = found.get("plugin", {}).get("accuracy")
    if isinstance(alone, int | float):
        if told["high"] is not None and alone > told["high"]:
            verdict = "the language model loses some of what its plugin knows"
        elif told["low"] is not None and alone < told["low"]:
            verdict = "together they know more"
        else:
            verdict = "no difference can be seen, so the language model is not shown to add anything to the label"
        yield (
            f"The emotion plugin alone is right in {percent(alone)} % of the same dialogues, the model with it in "
            f"{percent(told['value'])} %: {verdict}."
        )
    for name, false in conditions.items():
        kind = name.removeprefix("random_")
        if kind == name or kind == "emotions" or value_of(over.get(name)) is None or not gain:
            continue
        if _below(false["accuracy"], told):
            verdict = "true ones do better"
        else:
            verdict = f"no difference can be seen, so the gain is not shown to be owed to the {kind}"
        by, true = percent(over[name]["value"], "+"), percent(gain["value"], "+")
        yield f"With random {kind} the model gains {by} points, with the plugin's own {true}: {verdict}."


def _is_seen(difference: Mapping[str, Any]) -> bool:
    low, high = difference.get("low"), difference.get("high")
    return low is not None and high is not None and (low > 0 or high < 0)


def _below(metric: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether an interval lies wholly below another."""
    high, low = metric.get("high"), other.get("low")
    return high is not None and low is not None and high < low


def _signed(difference: Mapping[str, Any], unit: str) -> str:
    low, high = difference.get("low"), difference.get("high")
    if low is None or high is None:
        by = f"{percent(difference['value'], '+')} points" if unit == "share" else plain(difference["value"], "+")
        return f"{by}, without an interval"
    if unit == "share":
        return f"{percent(difference['value'], '+')} points, 95 %: {percent_range(low, high, '+')}"
    return f"{plain(difference['value'], '+')}, 95 %: {plain_range(low, high, '+')}"
