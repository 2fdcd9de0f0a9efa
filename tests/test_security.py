"""What product code never does: the rules of SECURITY.md, read off the source."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("affectgpt", "videmo", "eval", "train", "data_recipes", "scripts")
MODULES = sorted(path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))

ALLOWED = {
    ("videmo/user_rewards.py", "runs text"): "reward_files are the user's own code, which the recipe names",
    ("data_recipes/unibench/convert.py", "reads pickles in arrays"): "--trust-pickle, off unless asked for",
}
"""Where a rule is broken on purpose, and why."""


def name_of(node: ast.AST) -> str:
    """`a.b.c` of a call's function; what stands before a call or an index is left out."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return ""


def keywords(call: ast.Call) -> dict[str | None, object]:
    """Constant keyword arguments, others as their source; under None what is handed on by `**`."""
    return {
        item.arg: item.value.value if isinstance(item.value, ast.Constant) else ast.unparse(item.value)
        for item in call.keywords
    }


def calls(*names: str) -> Callable[[ast.Call], bool]:
    """Calls of any of these, by their last parts: 'pickle.load' is also that of `x.pickle.load`."""
    return lambda call: any(f".{name_of(call.func)}".endswith(f".{name}") for name in names)


def passes(**values: object) -> Callable[[ast.Call], bool]:
    """Calls with any of these keyword arguments."""
    return lambda call: any(keywords(call).get(name, ...) == value for name, value in values.items())


def lacks(call: ast.Call, **values: object) -> bool:
    return not passes(**values)(call)


def is_auto_class(call: ast.Call) -> bool:
    """`AutoModel.from_pretrained`, and whatever else reads a checkpoint's own description of its class."""
    owner, _, method = name_of(call.func).rpartition(".")
    return owner.startswith("Auto") and method in ("from_pretrained", "from_config")


def trusts_code(call: ast.Call) -> bool:
    if not is_auto_class(call):
        return "trust_remote_code" in keywords(call) and lacks(call, trust_remote_code=False)
    handed_on = keywords(call).get(None) == "kwargs"  # where `trust_remote_code` is set in them, as below
    return lacks(call, trust_remote_code=False) and not handed_on


RULES: dict[str, Callable[[ast.Call], bool]] = {
    "reads a pickle": calls(
        *(f"{module}.{name}" for module in ("pickle", "cPickle", "dill", "cloudpickle") for name in ("load", "loads")),
        *("pickle.Unpickler", "joblib.load", "shelve.open", "pandas.read_pickle", "pd.read_pickle", "marshal.loads"),
    ),
    "reads pickles in checkpoints": lambda call: calls("torch.load")(call) and lacks(call, weights_only=True),
    "reads pickles in arrays": lambda call: (
        (calls("np.load", "numpy.load")(call) and lacks(call, allow_pickle=False))
        or (keywords(call).get("allow_pickle", False) is not False)
    ),
    "reads YAML that makes objects": lambda call: (
        calls("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load")(call)
        or (calls("yaml.compose", "yaml.parse")(call) and lacks(call, Loader="yaml.SafeLoader"))
    ),
    "runs text": lambda call: name_of(call.func) in ("eval", "exec"),
    "calls a shell": lambda call: (
        calls("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput")(call)
        or keywords(call).get("shell", False) is not False
    ),
    "unpacks an archive": lambda call: calls(
        "extractall", "shutil.unpack_archive", "tarfile.open", "tarfile.TarFile", "zipfile.ZipFile"
    )(call),
    "runs a model's own code": trusts_code,
    "trusts any certificate": lambda call: (
        passes(verify=False)(call) or calls("ssl._create_unverified_context", "ssl.CERT_NONE")(call)
    ),
    "leaves a file name to be taken": calls("tempfile.mktemp"),
}


def offences(source: str, path: str) -> Iterator[str]:
    """Every breach in a module, as file:line and what it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            for rule, broken in RULES.items():
                if broken(node) and (path, rule) not in ALLOWED:
                    yield f"{path}:{node.lineno}: {rule}: {ast.unparse(node)[:100]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_product_code_keeps_the_rules(path):
    assert list(offences(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())) == []


@pytest.mark.parametrize("allowed", ALLOWED, ids=": ".join)
def test_what_is_allowed_is_still_there(allowed):
    path, rule = allowed
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.Call) and RULES[rule](node) for node in ast.walk(tree))


BREACHES = {
    "reads a pickle": ["pickle.loads(x)", "import dill; dill.load(f)", "joblib.load(p)"],
    "reads pickles in checkpoints": ["torch.load(p)", "torch.load(p, weights_only=False)", "torch.load(p, **more)"],
    "reads pickles in arrays": ["np.load(p)", "numpy.load(p, allow_pickle=True)", "read_array(f, allow_pickle=trust)"],
    "reads YAML that makes objects": ["yaml.load(t, Loader=yaml.Loader)", "yaml.unsafe_load(t)", "yaml.compose(t)"],
    "runs text": ["eval(t)", "exec(t)"],
    "calls a shell": ["os.system(t)", "subprocess.run(t, shell=True)", "subprocess.run(t, shell=wanted)"],
    "unpacks an archive": ["a.extractall(p)", "tarfile.open(p)", "shutil.unpack_archive(p)"],
    "runs a model's own code": [
        "AutoModel.from_pretrained(p)",
        "AutoModel.from_config(c)",
        "AutoModel.from_pretrained(p, trust_remote_code=trusted)",
        "Qwen.from_pretrained(p, trust_remote_code=True)",
    ],
    "trusts any certificate": ["httpx.get(u, verify=False)"],
    "leaves a file name to be taken": ["tempfile.mktemp()"],
}


@pytest.mark.parametrize("rule", RULES)
def test_a_breach_is_found_and_named(rule):
    assert BREACHES[rule]
    for source in BREACHES[rule]:
        assert any(found.startswith(f"x.py:1: {rule}: ") for found in offences(source, "x.py")), source


def test_what_is_right_is_no_breach():
    right = [
        "torch.load(p, weights_only=True)",
        "np.load(p, allow_pickle=False)",
        "yaml.safe_load(t); yaml.compose(t, Loader=yaml.SafeLoader)",
        "model.eval(); re.compile(t); subprocess.run([a], check=False)",
        "AutoModel.from_pretrained(p, trust_remote_code=False)",
    ]
    assert [found for source in right for found in offences(source, "x.py")] == []


def test_the_processor_hands_on_that_no_code_is_run():
    """The one place where `**kwargs` goes to an Auto class."""
    handing = [
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and is_auto_class(node) and keywords(node).get(None) == "kwargs"
    ]
    assert set(handing) == {"affectgpt/model/processing.py"}
    assert '"trust_remote_code": False}' in (ROOT / "affectgpt/model/processing.py").read_text(encoding="utf-8")
