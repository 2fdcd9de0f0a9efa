"""Words by which answers deny, ask about or only mention something, or begin anew."""

from __future__ import annotations

from typing import Literal

from affectgpt.emotions.lemmas import word_set

Kind = Literal["safe", "denies", "mentions", "breaks", "goes_on", "and", "or", "filler"]

_SAFE = """
no doubt, no matter, no wonder, no question, no uncertainty, no other than, none other than, not just, not merely,
not only, not simply, not to mention, not to say, not without, nothing but, nothing other than, nothing except,
nothing short of, nobody but, without doubt, without a doubt, without any doubt, without question, beyond doubt,
beyond a doubt, beyond any doubt, little doubt, hardly any doubt, as if, as though, even if, if i had to, if i have to,
if i must, if we had to, no less, more or less, i suppose, we suppose, i imagine, nicht nur, pas seulement, no solo
"""
_DENIES = """
not, never, no, none, nor, neither, without, cannot, cant, wont, aint, isnt, arent, wasnt, werent, dont, doesnt, didnt,
wouldnt, couldnt, shouldnt, nothing, nobody, nowhere, hardly, barely, scarcely, rarely, seldom, unlikely, improbable,
implausible, impossible, doubt, doubts, doubted, doubtful, dubious, deny, denies, denied, denying, rule out, rules out,
ruled out, ruling out, rule, exclude, excludes, excluded, excluding, reject, rejects, rejected, rejecting, dismiss,
dismisses, dismissed, dismissing, eliminate, eliminates, eliminated, eliminating, discard, discards, discarded,
discarding, disregard, refute, refutes, refuted, contradict, contradicts, contradicted, inconsistent, incompatible,
incorrect, incorrectly, wrong, wrongly, false, falsely, untrue, mistaken, mistakenly, fail to, fails to, failed to,
lack, lacks, lacking, lacked, absence, absent, devoid, free of, free from, rather than, instead of, in place of,
as opposed to, opposed to, opposite of, contrary to, far from, anything but, anything other than, other than,
everything but, everything except, all but, except, apart from, aside from, than, unlike, less likely, least likely,
less, least, disagree, disagrees, avoid, avoids, cross out, crossed out, leave out, leaves out, speaks against,
speak against, stopped being, stops being, refuse, refuses, refused, hesitate to, reluctant to, scratch, ruling,
as can, as could, so can, so could, argues against, argue against, evidence against, decide against, decided against,
little evidence,
little sign, almost chose, almost picked, nearly chose, nearly picked, cease to be, ceased to be, loss of, no longer,
nicht, kein, keine, keinen, keinem, keiner, keines, weder, niemals, nie, ohne, anstatt, statt, falsch, ausgeschlossen,
не, нет, không, pas, ni, sans, jamais, aucun, aucune, ningun, ninguna, nunca, tampoco,
niet, geen, inte, ingen, inget, ikke, não, nem, non
"""
_MENTIONS = """
if, whether, unless, suppose, supposing, assuming, imagine, options are, options were, options include,
options included, options given are, options listed are, options available are, choices are, choices were,
choices include, candidates are, candidates include, alternatives are, possibilities are, possibilities include,
possible answers, possible emotions, possible labels, answers include, between, question asks, question asked,
question says, question wants, question mentions, question lists, question reads, question names, question is,
question was, prompt asks, prompt says, prompt mentions, prompt lists, prompt reads, user asks, user asked, user says,
user wants, user mentions, task asks, task says, task is, subtitle says, subtitle reads, subtitle is, subtitles say,
caption says, caption reads, transcript says, transcript reads, you ask, you asked, you say, you said, you mention,
you mentioned, you list, you listed, is asked, was asked, asked, asks, asking, the word, the words, the term, the terms,
the phrase, mention, mentions, mentioned, mentioning, quote, quotes, quoted, quoting, choose among, choose from,
decide between, first guess, first thought, first impression, first glance, initial guess, initial thought, i thought,
i first thought, i initially thought, i first guessed, i guessed, i assumed, i considered, i was considering,
used to be, tempted to, tempting to, tempting, meant to be, supposed to be, pretend, pretends, pretending, pretended,
some may, some might, some would, some could, someone may, someone might, someone would, one may, one might,
one could, people may, people might, people would, others may, others might, others would, many would, you might,
would have, going to say, about to say, tempted to say, want me to, wants me to, were it, had it been,
hypothetically, ob, wenn
"""
_BREAKS = """
but, however, yet, though, although, because, since, whereas, instead, therefore, thus, hence, nevertheless, sondern,
aber, weil, mais, parce, sino, pero, porque
"""
_GOES_ON = """
as, while, when, until, which, who, so, then, now, it's, he's, she's, they're, i'm, i'd, i'll
"""
"""Words that end a negation only after it has met something: `not as sad`, but `not sad as he smiles`."""
_FILLER = """
the, a, an, option, options, choice, choices, letter, letters, answer, answers, label, labels, either, both, even,
also, very, even, of, emotion, emotions, die, der, das, den, le, la, les, l, el, oder auch
"""
_AND = "and, plus, und, et, y, as well as, along with"
_OR = "or, nor, oder, noch, ou"


LISTED = word_set("options choices candidates alternatives possibilities")
CHOSEN = word_set("correct right best final true my chosen")
"""`The options: A, B` mentions what follows, `the correct options: A, B` asserts it."""


def _table() -> dict[str, list[tuple[tuple[str, ...], Kind]]]:
    lists: dict[Kind, str] = {
        "filler": _FILLER, "and": _AND, "or": _OR, "breaks": _BREAKS, "goes_on": _GOES_ON, "mentions": _MENTIONS,
        "denies": _DENIES, "safe": _SAFE,
    }  # fmt: skip
    kinds: dict[tuple[str, ...], Kind] = {
        tuple(phrase.split()): kind for kind, text in lists.items() for phrase in text.split(",")
    }
    table: dict[str, list[tuple[tuple[str, ...], Kind]]] = {}
    for words in sorted(kinds, key=len, reverse=True):
        table.setdefault(words[0], []).append((words, kinds[words]))
    return table


PHRASES = _table()
"""First word -> the phrases that begin with it and what they do, longest first."""

HIDING = word_set("hide hiding conceal contain suppress help control mask disguise stop resist wait")
"""Verbs whose negation affirms what follows: `cannot hide his joy`."""

UNSPACED: dict[Kind, str] = {
    "safe": "不但|不仅|不只|不光|不单|不禁|不断|不得不|不由|不错|不知不觉|毫无疑问|毫无疑义|无疑|无比|无奈|无聊|无助|"
    "无语|无论|非常|忍不住|禁不住|差不多|没错|未来|毫不掩饰|不加掩饰|掩饰不住|掩盖不住|按捺不住|抑制不住|难掩|难以掩饰",
    "denies": "并不|并非|绝不|绝非|而不是|而非|不|没有|没|毫无|无|未|别(?=选|是|猜|认为)|勿|排除|除了|缺乏|缺少|"
    "否认|难以说|很难说|难说|假装|佯装|装作|非(?=[A-Z(]|$)|ไม่",
    "mentions": "是否|如果|假如|假设|要是|问题(?:是|问|中)|题目|选项(?:有|包括|为|中|里|分别)|选项:|介于|起初|最初|"
    "乍看",
    "breaks": "而是|但是|但|却|反而|因为|所以|因此|不过|而且",
    "or": "或者|或|还是",
    "and": "以及|和|与|及|跟",
    "filler": "选项|选择|情绪",
}
"""Pattern of what does the same in scripts that put no spaces between words; tried in this order."""

_VERBS = (
    "(?:is|are|was|were|be|been|being|seems?|seemed|looks?|looked|appears?|appeared|feels?|sounds?|would|could|can|may|"
    "might|must|should|will|has|have|had|gets?|got|does|do|did|also|clearly|definitely|certainly|both|all|therefore|"
    "thus|then|obviously|surely|completely|simply|to|the|an?|very|quite|rather|most|more|far|highly|now|just|probably|ist|sind|"
    "war|wäre|est|es|son) "
)
_AFTER_IT = r"[ \t\"'*)\]]*(?:(?:option|answer|choice|one|emotion|label)\b)?"
DENIED_AFTER = (
    # is wrong, was ruled out, does not fit, cannot be right, which is wrong
    rf"{_AFTER_IT}(?:,? ?(?:which|that|it|this)\b)? ?(?:"
    rf"(?:{_VERBS}){{1,6}}(?:(?:not|never|no|nicht|kein|pas|nowhere)\b(?! (?:only|just|merely|simply|doubt))|"
    r"(?:less|least|too|gone|off|out(?=\s*(?:[.;!,\n)]|$))|out of the question|questionable|mistake|error|stretch|"
    r"(?:poor|bad|weak|worst|worse) (?:option|answer|choice|fit|match|guess))\b)|"
    rf"(?:{_VERBS}){{0,6}}(?:(?:cannot|can not|isnt|doesnt|cant|[a-z]{{2,8}}n't|wrong|incorrect|false|untrue|mistaken|"
    r"unlikely|improbable|implausible|impossible|absent|missing|lacking|excluded|ruled out|eliminated|rejected|"
    r"dismissed|discarded|inconsistent|incompatible|unsupported|doubtful|inaccurate|invalid|unsuitable|inappropriate|"
    r"untenable|falsch|ausgeschlossen|faux|incorrecto|неверно|неправильно|"
    r"makes? no|fails?|contradicts?|lacks?)\b))"
    # would fit if he smiled, was my first guess, is one of the options
    rf"|{_AFTER_IT} ?would [^.;!?\n]{{0,40}}\b(?:if|unless|only)\b"
    rf"|{_AFTER_IT} ?(?:is|are|was|were) (?:just |only |merely |also )?(?:one of|among|mentioned|listed|quoted|"
    r"an? (?:option|possibility|choice|alternative|candidate|distractor)|what the (?:question|prompt)|"
    r"(?:my|the|our) (?:first|initial|second)|tempting)\b"
    rf"|{_AFTER_IT},? (?:only )?(?:if|unless)\b(?! (?:i|we|one|you|any|anything|not)\b)"
    # : no, = 0, (wrong), | false |, - not supported; I'm happy to help, I'm afraid I cannot
    rf"|{_AFTER_IT} ?(?::|->?|=|→|[(\[]|,|\||…|\.\.\.)? ?(?:[✗✘❌×≠]|"
    r"(?:no|n/a|wrong|incorrect|false|absent|inactive|excluded|ruled out|out)"
    r"(?=\s*(?:[.;!)\n,(\[\]}|]|$)|\s+[a-z1-9]\b)|"
    r"not(?=\s*(?:[.;!)\n\]]|$))|not (?:an? (?:option|match|fit)|(?:applicable|supported|correct|right|"
    r"possible|plausible|likely|present|visible|evident|active|shown|consistent|it)\b))"
    rf"|{_AFTER_IT} ?(?::|=|\|) ?0(?:[.,]0+)?(?=\s*(?:[.;!)\n,\]}}|]|$))"
    rf"|{_AFTER_IT} (?:to (?:help|assist)\b|(?:that )?i (?:can ?not|can't|am unable|am not able)\b)"
    # B passt nicht, B n'est pas correct, B no es correcta
    r"|[ \t\"'*)\]]*(?: (?!(?:und|oder|weil|denn|aber|et|ou|mais|car|och|en|omdat|e)\b)[^\W\d_]+(?:'[^\W\d_]+)?)"
    r"{0,3} (?:nicht(?! nur)|kein\w*|scheidet|pas|convient pas|niet|inte|ikke|não|değil|exclu\w?|entfällt)\b"
    r"|[ \t\"'*)\]]*(?: n[oã]o?| non) (?:es|son|era|puede|parece|corresponde|encaja|é|pode|è|può|sembra)\b"
)
"""Pattern of what follows something that is denied, of Latin script."""
DENIED_AFTER_UNSPACED = (
    r"(?:[\s\"')\]]*(?:选项|答案|option|answer|choice)?(?:[也都就则是显然肯定并可以应该应被看起来似乎似]){0,6}"
    r"(?:不(?![但仅只光断禁错已止小住得])|错|排除|没有|未|的?可能性(?:很|较)?(?:低|小)))"
    r"|[^\n,。.!;]{0,6}[吗嘛]|\s*は(?:違|誤|間違|正しくな|不正解)"
    r"|\s*(?:では|じゃ|とは|には)(?:な|あり|言え|見え)|\s*(?:く|で)(?:ない|なかった|ありません|なく)"
    # 怒りは見られない, but not 怒りかもしれない (may be), 怒りに違いない (must be), 怒りを隠せない (cannot hide)
    r"|[\u3040-\u30ff\u3400-\u9fff ]{0,14}?(?<!かもしれ)(?<!違い)(?<!ちがい)(?<!隠せ)(?<!隠しきれ)"
    r"(?<!抑えられ)(?<!しか)(?<!ほかなら)(?<!他なら)(?<!過ぎ)(?:ない|なく|なかった|ません)|\s*(?:以外|より(?!も?前))|\s*보다"
    r"|\s*[가-힣]{0,3}?\s?(?:틀렸|틀린|틀립|오답)"
    r"|\s*[가-힣]{0,4}(?: [가-힣]{1,6}){0,2}(?<!숨기)(?<!감추)(?<!참)지\s?(?:않|못)"
    r"|\s*(?:[이가은는])?\s?(?:아니|아닙|아닌|없)"
)
"""The same for scripts without spaces, and for Korean."""
