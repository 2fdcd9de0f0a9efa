"""Options that answers assert, told from those that they only deny, ask about or mention."""

from __future__ import annotations

import pytest

from affectgpt.answers.assertion import judge_spans
from affectgpt.answers.judge import is_right
from affectgpt.answers.reading import read_label, read_letters, read_set

OPTIONS = {"A": "happy", "B": "sad", "C": "angry", "D": "neutral"}
QUESTION = "Which emotion does the person show?\nA. happy\nB. sad\nC. angry\nD. neutral"

NOTHING_CHOSEN = (
    "I would say it's anything other than B", "B? Nope.", "Nope, not B", "By no means B", "Certainly not (B)",
    "B cannot be correct", "We can eliminate B", "B must be false", "It couldn't be B", "It shouldn't be B", "No B",
    "There's nothing sad about him", "B has been ruled out", "Cross out B", "B does not match",
    "He is the opposite of sad", "B doesn't apply", "definitely isn't sad", "no trace of sad",
    "Under no circumstances B", "It's not that he is sad", "The evidence contradicts B",
    "The evidence speaks against B", "I reject B", "B seems off", "B is off the table", "Please do not choose B",
    "Don't pick B", "Avoid B", "I wouldn't say B", "I wouldn't choose B", "I disagree with B", "B is inaccurate",
    "B is invalid", "B is not correct", "B isn't supported", "It can hardly be B", "Rule B out",
    "Rule out both B and C", "Leave out B", "B, no.", "B - no", "B -> wrong", "B = wrong", "(B) ❌", "❌ B", "~~B~~",
    "<s>B</s>", "<del>B</del>", "Not B nor C", "non-B", "Not B or C", "I'm not convinced it is B",
    "I am not sure that B is right", "It is hard to say whether it is A or B", "Neither sad nor angry",
    "He doesn't seem sad to me", "He does not seem to be either sad or angry", "She is no longer sad",
    "I see no reason to choose B", "There is no evidence for B", "There isn't any evidence of B", "B lacks evidence",
    "There is little evidence for B", "Nothing suggests B", "Nobody would call this sad",
    "This is not what I'd call sad", "Sad? No way.", "Sad is wrong.", "It's wrong to say B",
    "It would be wrong to answer B", "It is false that he is sad", "He isn’t sad", "He ain't sad", "He aint sad",
    "can't be sad", "cant be sad", "The man is hardly sad", "The man is anything but sad", "He is in no way sad",
    "far from being sad", "Contrary to B", "The answer is not (B).", "Answer: not B", "Answer: no B",
    "Answer: neither A nor B", "The answer is neither B nor C", "The correct answer is not B", "\\boxed{not B}",
    "The answer cannot be determined from A, B, C or D", "None of the options A, B, C, D",
    "I can't choose between A and B", "It could be A or B", "A or B", "either A or B", "Choose A, B, C or D?",
    "Which one: B?", "You want me to say B.", "If he is sad, B.", "B, if he cries", "Only if he cried would it be B",
    'the text "B" appears', '"B" is what the question asks', 'The question: "Is it B?"',
    "B was mentioned in the question", 'Someone said "sad".', 'He is called "sad" by others', "I was going to say B",
    "I almost chose B", "I considered B", "I would have chosen B", "One might choose B", "Many would choose B",
    "He pretends to be sad", "He is not as sad as he seems", "No, he is not sad.", "不可能是B", "排除B", "并非B",
    "我不认为是B", "答案不是B", "答案不应该是B", "B不正确", "B不符合", "B可以排除", "除了B以外", "没有B", "是B吗",
    "是不是B？", "到底是B还是C", "他一点也不悲伤", "nicht traurig, nicht B", "B ist nicht richtig", "Es ist kein B",
    "no es B", "ce n'est pas B", "pas B", "no creo que sea B", "B は違います", "Bではない", "B가 아니다",
    "không phải B", "не B", "это не B", "B неверно", "Definitely not B.", "It cannot be A: he is frowning.",
    "Not (C).", "It is not A, B or D.", "neither A nor B", "It isn't C", "It isn’t C.", "rule out D",
    "I would rule out D.", "B is wrong", "A is incorrect.", "anything but B", "It is unlikely to be C.",
    "I doubt it is B", "不是B", "nicht B", "weder A noch B", "between A and B", 'the question asks whether "B"',
    "A or B?", "B?", "Is it B?", "The options are A, B, C and D.", "A和B都不对", "B不对", "绝对不是B", "B是错的",
    "C can be ruled out.", "A and B are wrong.", "A, B and C are all incorrect", "B would be right if he smiled",
    "B is one of the options", 'The word "sad" is mentioned.', 'He says "I am happy".', "It's B, isn't it?",
    "B is not the answer", "B isn't right", "B doesn't fit", "(B) is wrong", "B: wrong", "B ✗", "B (no)", "All but B",
    "Everything except B", "None of A, B, C", "It is not the case that B", "I don't think it's B",
    "I do not believe the answer is B", "The answer is not B", "The correct answer isn't B.", "never B",
    "No way it is B", "hardly B", "far from B", "The opposite of B", "The wrong answer is B.", "Wrong options: A, B",
    "Incorrect: B", "Not: B", "Not B, C", "The person is not sad.", "no sign of happiness",
    "He doesn't look happy or sad", "The answer is a person", "A smile is what I see", "I see a smile",
    "The answer is A or B.", "B can't be excluded", "not sad", "Not at all sad", "un-happy", "non-happy", "B-roll",
    "Vitamin-B", "Plan B?", "It is less A than B", "", "Ist es B?", "kein B", "B ist falsch", "不高兴",
    "I cannot rule out B",
)  # fmt: skip
CHOSEN = {
    "I think it's B.": "B", "It must be B.": "B", "Most likely B": "B", "Probably (b).": "B", "My guess: B": "B",
    "I am confident that it is B": "B", "He looks sad, therefore B.": "B", "B!": "B", "B…": "B", "Sure! B": "B",
    "Okay, the answer's B.": "B", "The answer: (B) sad": "B", "It has to be option B (sad).": "B",
    "**Answer: B**": "B", "Answer – B": "B", "B (sad)": "B", "B - sad": "B", "b: sad": "B", "[B]": "B", "{B}": "B",
    "<B>": "", "'B'": "B", "`B`": "B", "The emotion is sad (B).": "B", "Therefore, the man is sad.": "B",
    "Based on his frown, I choose B.": "B", "The man doesn't smile, so he is sad.": "B",
    "He isn't smiling. He is sad.": "B", "No smile, no laughter: sad.": "B", "Without a smile, he looks sad.": "B",
    "He cries; he is not happy. Answer: B": "B", "While he is not crying, he is sad.": "B", "sad, definitely sad": "B",
    "Sadness? The best answer is B": "B", "It is B rather than A or C.": "B", "It's B and not C.": "B",
    "It's B, not A or C.": "B", "B, because the others don't fit": "B", "B because A, C and D are wrong": "B",
    "B. The others are wrong.": "B", "B is correct; A is not.": "B", "B is right. A is wrong. C is wrong.": "B",
    "Only B fits": "B", "Nothing but B": "B", "no other than B": "B", "I can't think of anything but B": "B",
    "There's no question it's B": "B", "Undoubtedly B": "B", "not A, not C, but B": "B",
    "Not A. Not C. Not D. So B.": "B", "Let's think. A: no. B: yes.": "B", "A ❌ B ✅": "B",
    "The correct option is 'B'.": "B", "The correct option is:\n\nB": "B", "**Final Answer**\n\nB": "B",
    "答案：B": "B", "答案为：（B）悲伤": "B", "因此选B。": "B", "应该选择B选项": "B", "我的答案是B，因为他没有笑": "B",
    "B。他看起来很悲伤": "B", "不是A也不是C，是B": "B", "他没有笑，所以是B": "B", "正确选项是B": "B", "故选B": "B",
    "本题选B": "B", "B项": "B", "Die Antwort ist B.": "B", "Antwort: B": "B", "La réponse est B": "B",
    "La respuesta es B": "B", "Ответ: B": "B", "答えはBです": "B", "정답은 B입니다": "B", "Option (b).": "B",
    "I'd choose (b), i.e. sad": "B", "The answer is option b.": "B", "(b) sad": "B", "b)": "B",
    "Choice B, I believe": "B", "B / sad": "B", "A man is crying, so B": "B", "I see a man crying. B": "B",
    "a man who is sad": "B", "The person isn't happy at all, they're sad.": "B", "It's not happiness; it's sad": "B",
    "He doesn't look happy. He looks sad.": "B", "not happy → sad": "B", "sad (not angry)": "B",
    "sad, not angry or happy": "B", "more sad than angry": "B", "sad instead of angry": "B",
    "The answer is B: he does not smile": "B", "The answer is B, isn't A": "B", "To answer the question, B": "B",
    "As asked, my answer is B": "B", "The options are A, B, C and D. The answer is B.": "B",
    "Looking at the options, B fits best": "B", "Of these options B is best": "B", "Among these, sad fits best.": "B",
    "I thought about A, but the answer is B": "B", "not A but B": "B", "A rather than B": "A", "不是B，而是A": "A",
    "Nicht A, sondern B": "B", "The answer is c.": "C", "B\nBecause he frowns": "B", "\\boxed{B}": "B",
    "The answer is $\\boxed{\\text{B}}$.": "B", "Option B": "B", "Choice (b)": "B", "**B**": "B", "B)": "B",
    '{"answer": "B"}': "B", '```json\n{"answer": "B"}\n```': "B", "答案是D。": "D", "选择 C": "C",
    "D，因为他笑了": "D", "选D": "D", "正确答案为（B）": "B", "我认为应该选B": "B", "排除A，选B": "B",
    "Answer: C\n\nExplanation: A is wrong because he is not smiling.": "C",
    "I pick B since C and D are unlikely.": "B", "B. sad because C would need a scowl": "B", "Not A. B.": "B",
    "No, B": "B", "No. It is B.": "B", "There is no doubt that it is B.": "B", "It can't be anything but B.": "B",
    "It is none other than B": "B", "not only A but also B": "AB", "A, not B": "A", "B, not A": "B",
    "A instead of B": "A", "Instead of A, I choose B": "B", "It is neither A nor B, it is C.": "C",
    "A and B are wrong, so C.": "C", "If it were B, he would smile. So A.": "A",
    'He says "I am happy", but looks sad': "B", "At first I thought B, but it is C": "C",
    "Option C was my first guess, but I choose option B now.": "B", "Could it be B? I would say C.": "C",
    "The answer is not B but C": "C", "The answer isn't B. It's C.": "C",
    "The answer can't be B; the answer is A": "A", "Not B; C": "C", "A? No. B? No. C it is.": "C",
    "happy? no, sad": "B", "not happy but sad": "B", "not happy, but sad": "B", "She is not happy; she is sad": "B",
    "B is possible but A is wrong": "B", "I'd go with B": "B", "It's B": "B", "My answer would be B.": "B",
    "It is option (b), sad.": "B", "b": "B", "b.": "B", "(b)": "B", "b) sad": "B", "a": "A", "A": "A",
    "The answer is a.": "A", "Answer: a": "A", "final answer: d": "D", "Final Answer: **(D)**": "D",
    "### Answer\nB": "B", "**Answer:** B": "B", "The answer is B, not A.": "B", "A/B": "AB", "A & B": "AB", "BD": "BD",
    "AB": "AB", "B D": "BD", "A and C": "AC", "- A\n- C": "AC", "1. A\n2. C": "AC", "A. happy\nC. angry": "AC",
    "A. happy: no.\nB. sad: yes.": "B", "cannot hide his sadness; sad": "B", "more B than A": "B",
    "B more than A": "B", "Unlike A, B": "B", "Between A and B, I choose B": "B",
    "Between A and B I would say B.": "B", "The question is whether it is B or C; B": "B", "Nein, B": "B",
    "Я выбираю B": "B",
}  # fmt: skip

DENIED_AFTERWARDS = (
    "B would be a mistake", "B is a poor choice", "B is the worst option", "Choosing B would be an error.",
    "B gets eliminated", "Option B is out.", "B [wrong]", "(B) - not supported by the clip", "B: not applicable",
    "B not", "B, not.", "B… not!", "¬B", "≠ B", "Scratch B.", "He had stopped being sad", "I refuse to choose B",
    "I hesitate to say B", "B and C can be ruled out; so can D", "B can be ruled out, as can C",
)  # fmt: skip
OTHER_LANGUAGES = (
    "B kann es nicht sein", "B scheidet aus", "B passt nicht", "B stimmt nicht", "Auf keinen Fall B",
    "B n'est pas correct", "B est exclu", "B ne convient pas", "Surtout pas B", "B no es correcta", "Non è B",
    "B não é correto", "não é B", "Det är inte B", "niet B", "B is niet juist", "B değil", "B以外",
    "Bとは思えない", "Bは当てはまらない", "Bは見られません", "B는 틀렸습니다", "难以说是B", "B的可能性很小",
)  # fmt: skip


@pytest.mark.parametrize("answer", [*DENIED_AFTERWARDS, *OTHER_LANGUAGES])
def test_a_denial_is_understood_wherever_and_in_whatever_language_it_stands(answer: str) -> None:
    assert read_letters(answer, OPTIONS) == frozenset()


@pytest.mark.parametrize(
    ("answer", "keys"),
    [
        ("B, I am sure.", "B"), ("It's B, not A.", "B"), ("B ist richtig, A nicht", "B"),
        ("Ruling B and C out leaves A and D", "AD"),
        ("B. The others would be a mistake.", "B"), ("B und nicht A", "B"), ("A: 0, B: 1, C: 0, D: 0", "B"),
        ("A | no\nB | yes", "B"),
        ("N/A", ""), ("n/a", ""), ("A: no\nB: N/A", ""), ("B正确，A不正确", "B"),
        ("Bに違いない", "B"), ("Bかもしれない", "B"),
    ],
)  # fmt: skip
def test_what_stands_beside_a_denial_is_still_chosen(answer: str, keys: str) -> None:
    assert read_letters(answer, OPTIONS) == frozenset(keys)


@pytest.mark.parametrize(
    "answer",
    ["I'm happy to help! But I cannot see the video.", "Happy to assist, which clip?", "Sure, I'd be happy to help."],
)
def test_courtesy_is_no_emotion(answer: str) -> None:
    assert read_label(answer, ["happy", "sad"]) is None
    assert read_label(answer, ["joy", "sadness"], by_wheel=True) is None
    assert read_label("I'm afraid I can't tell.", ["joy", "fear"], by_wheel=True) is None


@pytest.mark.parametrize("answer", NOTHING_CHOSEN)
def test_an_option_that_is_denied_asked_about_or_mentioned_is_not_chosen(answer: str) -> None:
    assert read_letters(answer, OPTIONS) == frozenset()
    assert not any(is_right(answer, key, QUESTION) for key in OPTIONS)


@pytest.mark.parametrize(("answer", "keys"), CHOSEN.items())
def test_an_option_that_is_asserted_is_chosen(answer: str, keys: str) -> None:
    assert read_letters(answer, OPTIONS) == frozenset(keys)
    if len(keys) == 1:
        assert is_right(answer, keys, QUESTION)


def test_a_list_of_all_options_chooses_none_of_them() -> None:
    """OPD-V#2: an answer that repeats the options has chosen nothing, and pays nothing as a reward."""
    for answer in (QUESTION, "A. happy\nB. sad\nC. angry\nD. neutral", "happy sad angry neutral", "A, B, C or D"):
        assert not any(is_right(answer, key, QUESTION) for key in OPTIONS)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("happy, not sad", {"happy"}),
        ("not happy\nsad", {"sad"}),
        ("neither happy nor sad", set()),
        ("happy but not sad", {"happy"}),
        ("happy or sad?", set()),
        ("happy and sad are wrong, angry", {"angry"}),
        ("no sign of sadness, just angry", {"angry"}),
    ],
)
def test_a_set_holds_what_is_asserted(answer: str, named: set[str]) -> None:
    assert (read_set(answer, OPTIONS.values()) or set()) == named


def test_spans_of_one_list_share_a_number_and_know_of_or() -> None:
    text = "B, C and D; maybe A or B"
    spans = [(0, 1), (3, 4), (9, 10), (18, 19), (23, 24)]
    judged = judge_spans(text, spans)
    assert [one.chain for one in judged] == [0, 0, 0, 1, 1]
    assert [one.alternative for one in judged] == [False, False, False, True, True]
    assert all(one.holds for one in judged)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("The options are happy, sad. The answer is sad.", "sad"),
        ("cannot hide his sad mood, he is sad", "sad"),
        ("He looks as if he is sad.", "sad"),
        ("happy at first sight, yet the answer is sad", "sad"),
        ("I'd say sad rather than happy.", "sad"),
        ("sad is missing", None),
        ('The subtitle says "I am happy".', None),
        ("non-happy", None),
    ],
)
def test_labels_are_asserted_like_options(answer: str, label: str | None) -> None:
    assert read_label(answer, ["happy", "sad", "angry"]) == label


@pytest.mark.parametrize(
    "answer", ["It is B. No, it is not B.", "sad ... no, not sad", "It is B. B is wrong.", "sad? He is sad. Not B."]
)
def test_what_is_denied_afterwards_is_not_chosen(answer: str) -> None:
    assert "B" not in read_letters(answer, OPTIONS)
    assert read_letters(f"{answer} It is C.", OPTIONS) == {"C"}
