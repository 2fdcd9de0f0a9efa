"""An empathy stage is checked before anything runs; the evidence of its rows is of plugins that never saw them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from affectgpt.clip import Clip
from affectgpt.plugins.plugin import load_plugin
from affectgpt.problems import InputError
from data_recipes.synthetic.dialogues import dialogue_rows
from tests.support.stages import make_context
from train.stages.empathy import EmpathyStage, rows_to_come, rows_with_evidence
from train.stages.run import require_rows

PLUGINS = {"emotion": {"encoder": "scratch", "epochs": 1}, "cause": {}}


def stage(**settings: object) -> EmpathyStage:
    fixed = {"name": "e", "kind": "empathy", "steps": 1, "batch_size": 1, "learning_rate": 1, "plugins": PLUGINS}
    return EmpathyStage.model_validate({**fixed, "mixture": {"dialogue": 1}, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plugins": {"emotions": {}}}, "unknown plugin 'emotions'. Did you mean 'emotion'"),
        ({"plugins": {"emotion": {"epoch": 1}}}, "epoch: unknown setting of plugin 'emotion'. Did you mean 'epochs'"),
        ({"plugins": {"emotion": {"epochs": "many"}}}, "epochs of plugin 'emotion': expected a valid integer"),
        ({"plugins": {"cause": {}}}, "name at least one plugin of kind emotion"),
        ({"selection": {"mode": "guess"}}, "'score' or 'prompt'"),
        ({"evidence_dropout": 0.7, "evidence_corruption": 0.4}, "1 at most together"),
    ],
)
def test_settings_that_are_wrong(settings, message):
    with pytest.raises(ValidationError) as caught:
        stage(**settings)
    assert message in str(caught.value)


def test_rows_that_no_plugin_can_learn_from():
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]
    clips = [
        Clip(id="c", messages=turns, task="emotion_label", answer="joy", subtitle="Fine", options=["joy", "sadness"])
    ]
    rows = list(dialogue_rows(0, "train", 20))
    require_rows([stage()], [*rows, *clips])
    with pytest.raises(InputError, match="stage 'e': expected rows of task dialogue or emotion_label with words"):
        require_rows([stage()], clips)
    both = stage(mixture={"dialogue": 1, "emotion_label": 1})
    with pytest.raises(InputError, match="the options of row c lack afraid, disappointed"):
        require_rows([both], [*rows, *clips])


def test_evidence_is_made_once_and_follows_its_rows(tmp_path):
    rows = list(dialogue_rows(0, "train", 40))
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Fine"}]
    other = Clip(id="t", messages=turns, task="text", answer="plain")
    context = make_context(tmp_path)
    told = rows_with_evidence(context, stage(), [rows[0], other, *rows[1:]])
    assert told[1] is other
    assert [row.id for row in told] == [rows[0].id, "t", *(row.id for row in rows[1:])]
    assert all(set(row.evidence or {}) == {"emotion", "cause"} for row in told if row is not other)
    mark = context.folder.plugins("e") / "mark"
    stamp = mark.stat().st_mtime_ns
    assert rows_with_evidence(context, stage(), [rows[0], other, *rows[1:]]) == told
    assert mark.stat().st_mtime_ns == stamp
    rows_with_evidence(context, stage(), rows[:30])
    assert mark.stat().st_mtime_ns != stamp
    come = rows_to_come(context, stage(), [other, *dialogue_rows(0, "test", 5)])
    plugin = load_plugin(context.folder.plugins("e") / "emotion")
    assert len(come) == 5
    assert [row.evidence["emotion"]["labels"] for row in come if row.evidence] == [tuple(plugin.labels or ())] * 5
