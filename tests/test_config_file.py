"""The configuration loader of the rendered project: values come back exactly, and what is wrong is one clear line."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, field_validator
from reproducibility.config.loader import Config, load, load_section, read_defaults, read_yaml
from reproducibility.config.values import Section, config_digest, flatten
from reproducibility.config.yaml import parse_yaml, to_yaml
from reproducibility.digest import canonical
from reproducibility.errors import Refused

BASE = """\
policy:
  required_tags: [git_commit]
tracking:
  uri: sqlite:///mlflow.db
seed: 42
experiment_name: sample
data:
  path: data/sample.csv
model:
  rate: 0.1
"""
ENTRY = """\
extends: base.yaml
model:
  max_depth: 3
"""


class Layer(Section):
    size: int
    inner: "Layer | None" = None


class Model(Section):
    max_depth: int
    rate: float = 0.1
    criterion: Literal["gini", "entropy"] = "gini"
    weights: tuple[float, ...] = ()
    layers: tuple[Layer, ...] = ()


class Data(Section):
    path: Path


class Experiment(Config):
    """A field of every kind that an experiment needs."""

    seed: int
    experiment_name: str
    data: Data
    model: Model
    verbose: bool = False
    limit: int | None = None
    either: int | str = 0
    labels: dict[str, str] = Field(default_factory=dict)
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    folds: Annotated[int, Field(ge=2, le=10)] = 2
    title: Annotated[str, Field(min_length=2)] = "none"

    @field_validator("folds")
    @classmethod
    def _even(cls, folds: int) -> int:
        if folds % 2:
            raise ValueError("odd folds\nare odd")
        return folds


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Experiment]:
    """`loaded(text, *overrides)`: the config in an experiment file with that content, beside the team's base.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/base.yaml").write_text(BASE, encoding="utf-8")

    def load_text(text: str | bytes, *overrides: str) -> Experiment:
        path = Path("configs/experiment.yaml")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, Experiment, overrides)

    return load_text


def plain_lines(refused: Refused) -> list[str]:
    """Return the lines of a refusal. Each of them is printable and short, and has a fix."""
    lines = [str(violation) for violation in refused.violations]
    assert lines
    assert all(line.isprintable() and ". To fix it: " in line and len(line) < 600 for line in lines), lines
    return lines


@pytest.fixture
def refusals(loaded: Callable[..., Experiment]) -> Callable[..., list[str]]:
    """`refusals(text, *overrides)`: what is wrong with that file, one line for each violation."""

    def lines(text: str | bytes, *overrides: str) -> list[str]:
        with pytest.raises(Refused) as refused:
            loaded(text, *overrides)
        return plain_lines(refused.value)

    return lines


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """`read(text)`: the plain values in a file with that content."""

    def values(text: str) -> dict[str, Any]:
        (tmp_path / "one.yaml").write_bytes(text.encode())
        return read_yaml(tmp_path / "one.yaml")[0]

    return values


# What comes out


def test_file_wins_over_the_file_that_it_extends_and_overrides_come_last(
    loaded: Callable[..., Experiment], tmp_path: Path
) -> None:
    text = ENTRY + "  weights: [1, 2]\nlabels: {a: x}\n"
    config = loaded(text, "model.weights=[3]", "labels.b=y", "seed=7", "model={rate: 0.5}")
    assert config.model_dump(mode="json") == {
        "seed": 7,
        "experiment_name": "sample",
        "data": {"path": str(Path("data/sample.csv"))},
        "model": {"max_depth": 3, "rate": 0.5, "criterion": "gini", "weights": [3.0], "layers": []},
        "verbose": False,
        "limit": None,
        "either": 0,
        "labels": {"a": "x", "b": "y"},
        "fraction": 0.5,
        "folds": 2,
        "title": "none",
    }
    here = tmp_path.resolve()
    assert config.source.files == (here / "configs/experiment.yaml", here / "configs/base.yaml")
    assert config.source.overrides == ("model.weights=[3]", "labels.b=y", "seed=7", "model={rate: 0.5}")


def test_config_cannot_be_changed_afterwards(loaded: Callable[..., Experiment]) -> None:
    config = loaded(ENTRY)
    with pytest.raises(ValueError, match="frozen"):
        config.model.max_depth = 4


def test_chain_of_files_reaches_outside_the_folder(loaded: Callable[..., Experiment], tmp_path: Path) -> None:
    (tmp_path / "configs/middle").mkdir()
    (tmp_path / "configs/middle/deep.yaml").write_text("extends: ../base.yaml\nseed: 1\nmodel: {max_depth: 1}\n")
    config = loaded("extends: middle/deep.yaml\nmodel: {rate: 1}\n")
    assert (config.seed, config.model.max_depth, config.model.rate) == (1, 1, 1.0)
    assert [file.name for file in config.source.files] == ["experiment.yaml", "deep.yaml", "base.yaml"]


@pytest.mark.parametrize("spelling", ["1e-3", "0.001", "1.0E-3", ".001", "+0.001", "&a 0.001"])
def test_spelling_of_a_number_does_not_change_the_digest(loaded: Callable[..., Experiment], spelling: str) -> None:
    digest = config_digest
    digests = {digest(loaded(ENTRY + f"  rate: {text}\n").model_dump(mode="json")) for text in ("0.001", spelling)}
    assert len(digests) == 1
    assert digests != {digest(loaded(ENTRY + "  rate: 0.002\n").model_dump(mode="json"))}


def test_whole_number_in_a_float_field_is_that_float(loaded: Callable[..., Experiment]) -> None:
    configs = [loaded(ENTRY + f"  rate: {text}\n").model_dump(mode="json") for text in ("3", "3.0", "0x3")]
    assert len({config_digest(values) for values in configs}) == 1
    assert flatten(configs[0])["model.rate"] == "3.0"


SCALARS = {
    "true": True,
    "False": False,
    "null": None,
    "~": None,
    "": None,
    "3": 3,
    "-3": -3,
    "+3": 3,
    "0": 0,
    "0x1F": 31,
    "0o17": 15,
    "1e-3": 0.001,
    "1E5": 100000.0,
    ".5": 0.5,
    "5.": 5.0,
    "-0.0": -0.0,
    "1.5e+3": 1500.0,
    "no": "no",
    "yes": "yes",
    "on": "on",
    "off": "off",
    "y": "y",
    "012": "012",
    "01.5": "01.5",
    "1_000": "1_000",
    "1:30": "1:30",
    "0b11": "0b11",
    "2024-01-31": "2024-01-31",
    "2024-01-31 10:00:00": "2024-01-31 10:00:00",
    "=": "=",
    "1e": "1e",
    "e3": "e3",
    ".": ".",
    "nan": "nan",
    "'3'": "3",
    '"null"': "null",
    r'"\u00e9\ud83d\ude00"': "é😀",  # JSON's two escapes for one character
    "|\n  two\n  lines\n": "two\nlines\n",
}


@pytest.mark.parametrize(("text", "value"), SCALARS.items(), ids=SCALARS)
def test_scalar_is_read_as_yaml_1_2_says(read: Callable[..., Any], text: str, value: object) -> None:
    found = read(f"key: {text}\n")["key"]
    assert (type(found), repr(found)) == (type(value), repr(value))


def test_anchors_and_merge_keys_work_and_explicit_keys_win(read: Callable[..., Any]) -> None:
    text = """\
a: &a {x: 1, y: 1}
b: &b {x: 2, z: 2}
one: {y: 9, <<: *a}
two: {<<: [*a, *b], y: 8}
same: *a
"<<": text
"""
    values = read(text)
    assert values["one"] == {"x": 1, "y": 9}
    assert values["two"] == {"x": 1, "y": 8, "z": 2}
    assert values["same"] == {"x": 1, "y": 1}
    assert values["<<"] == "text"


@pytest.mark.parametrize("lines", [("rate: 5", "<<: *b"), ("<<: *b", "rate: 5")], ids=["own first", "merge first"])
def test_a_value_of_its_own_keeps_its_line_wherever_the_merge_key_stands(lines: tuple[str, str]) -> None:
    text = "base: &b\n  rate: 1\n  size: 2\nown:\n" + "".join(f"  {line}\n" for line in lines)
    values, marks = parse_yaml(text, "c.yaml")
    assert values["own"] == {"rate": 5, "size": 2}
    assert str(marks["own", "rate"]) == f"c.yaml:{5 + lines.index('rate: 5')}"
    assert str(marks["own", "size"]) == "c.yaml:3"


def test_flatten_names_every_leaf() -> None:
    values = {
        "a": {"b": {"c": 3, "d": "é text"}, "e": {}},
        "f": [1, {"x": None}],
        "g": None,
        "h": True,
        "i": 1e-05,
        "j": "",
    }
    assert flatten(values) == {
        "a.b.c": "3",
        "a.b.d": "é text",
        "a.e": "{}",
        "f": '[1,{"x":null}]',
        "g": "null",
        "h": "true",
        "i": "1e-05",
        "j": "",
    }


def test_defaults_are_the_values_without_the_sections_of_the_team(loaded: Callable[..., Experiment]) -> None:
    assert read_defaults(Path("configs/base.yaml")) == {
        "seed": 42,
        "experiment_name": "sample",
        "data": {"path": "data/sample.csv"},
        "model": {"rate": 0.1},
    }


# Written and read again

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        *SCALARS,
        "\n",
        " x",
        "x ",
        "a\r\nb",
        "\x85",
        "\u2028",
        "\ufeff",
        "\0",
        "\x7f",
        "#",
        "a: b",
        "a #b",
        "---",
        "...",
        "<<",
        "*a",
        "%x",
        "\t",
    ]
)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
KEYS = TEXTS.filter(lambda text: text and "." not in text)
VALUES = st.recursive(
    TEXTS | NUMBERS | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the examples of one property share."""
    return tmp_path_factory.mktemp("config")


@settings(deadline=None)
@given(values=st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_written_is_read_back_exactly(scratch: Path, values: dict[str, Any]) -> None:
    text = to_yaml(values)
    (scratch / "written.yaml").write_bytes(text.encode())
    found, _ = read_yaml(scratch / "written.yaml")
    assert repr(found) == repr(values)  # repr, for 1 and 1.0 and True are equal, and so are 0.0 and -0.0
    assert repr(yaml.safe_load(text)) == repr(values)  # a reader of YAML 1.1 agrees


def test_what_is_written_keeps_its_order_and_spells_out_repetition() -> None:
    shared = [1]
    assert to_yaml({"b": shared, "a": shared}) == "b:\n- 1\na:\n- 1\n"


# Attacks on the text

NESTED = "a:\n" + "".join(f"{' ' * level}a:\n" for level in range(1, 1000))
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
LONG_BOMB = f"a: &a {'x' * 50_000}\nb: [*a, *a, *a]\n"
DEEP_ALIASES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{x: *a{n - 1}}}\n" for n in range(1, 100))

BROKEN: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", ": the file is empty"),
    "only a comment": ("# nothing\n", ": the file is empty"),
    "list": ("\n- 1\n", ":2: the top level is not a mapping"),
    "text": ("hello\n", ":1: the top level is not a mapping"),
    "duplicate key": ("seed: 1\nseed: 2\n", ":2: seed: is already set at configs/experiment.yaml:1"),
    "deep duplicate": (
        "data: {}\nmodel:\n  - x: {a: 1,\n     a: 2}\n",
        ":4: model[0].x.a: is already set at configs/experiment.yaml:3",
    ),
    "duplicate merge": ("a: &a {}\nb:\n  <<: *a\n  <<: *a\n", ":4: b.<<: is already set at configs/experiment.yaml:3"),
    "number as key": ("1: a\n", ":1: the key 1 is not text"),
    "null as key": ("a: 1\nnull: b\n", ":2: the key null is not text"),
    "boolean as key": ("model:\n  true: c\n", ":2: model: the key true is not text"),
    "list as key": ("? [a]\n: 1\n", ":1: a key is not text"),
    "alias as key": ("a: &a {x: 1}\n*a : 1\n", ":1: a key is not text"),
    "dot in key": ("model.max_depth: 3\n", ":1: the key 'model.max_depth' is empty or has a dot"),
    "empty key": ('"": 3\n', ":1: the key '' is empty or has a dot"),
    "python tag": (
        "seed: !!python/object/apply:os.system [ls]\n",
        ":1: the tag !!python/object/apply:os.system is not",
    ),
    "custom tag": ("seed: 1\ndata: !foo {}\n", ":2: the tag !foo is not allowed"),
    "standard tag": ("seed: !!int '3'\n", ":1: the tag !!int is not allowed"),
    "tag of no kind": ("seed: ! 3\n", ":1: the tag ! is not allowed"),
    "tag on a key": ("!!str seed: 3\n", ":1: the tag !!str is not allowed"),
    "two documents": ("seed: 1\n---\nseed: 2\n", ":2: not valid YAML at column 1: but found another document"),
    "tab": ("model:\n\tmax_depth: 3\n", r":2: not valid YAML at column 1: found character '\t'"),
    "colon in text": ("seed: 1\nname: a: b\n", ":2: not valid YAML at column 8: mapping values are not allowed here"),
    "open bracket": ("seed: [1, 2\n", ":2: not valid YAML at column 1: expected ',' or ']'"),
    "undefined alias": ("seed: *nowhere\n", ":1: not valid YAML at column 7: found undefined alias 'nowhere'"),
    "not utf-8": (b"seed: 1\nname: \xe9\n", ":2: the byte 0xe9 is not UTF-8"),
    "byte order mark": (b"\xef\xbb\xbfseed: 1\n", ":1: begins with a byte order mark"),
    "utf-16": ("seed: 1\n".encode("utf-16"), ":1: begins with a byte order mark"),
    "control character": ("seed: 1\nname: a\0b\n", r":2: holds the control character "),
    "escape out of range": ('seed: 1\nname: "\\UFFFFFFFF"\n', ":2: not valid YAML: an escape or a version is out of"),
    "half a character": ('name: "\\ud800"\n', ":1: holds half a character"),
    "half a character in a key": ('"\\udc00": 1\n', ":1: holds half a character"),
    "huge version": (f"%YAML 1.{'9' * 5000}\n---\nseed: 1\n", ":1: not valid YAML: an escape or a version is out of"),
    "a thousand levels": (NESTED, ":65: is nested more than 64 levels deep"),
    "a thousand brackets": ("a: " + "[" * 1000, ":1: is nested more than 64 levels deep"),
    "billion laughs": (BOMB, ":1: too much in all, aliases written out"),
    "alias of long text": (LONG_BOMB, ":1: too much in all, aliases written out"),
    "deep by aliases": (DEEP_ALIASES, ":1: too much in all, aliases written out"),
    "alias of itself": ("a: &a [1, *a]\n", ":1: an alias refers to the value that it is part of"),
    "merge of itself": ("a: &a\n  <<: *a\n", ":1: an alias refers to the value that it is part of"),
    "merge of text": ("a: &a text\nb: {<<: *a}\n", ":1: b: only mappings can be merged"),
    "infinity": ("model:\n  rate: .inf\n", ":2: model.rate: .inf is not a finite number"),
    "minus infinity": ("a: -.INF\n", ":1: a: -.INF is not a finite number"),
    "not a number": ("a: [.nan]\n", ":1: a[0]: .nan is not a finite number"),
    "overflow": ("a: 1e999\n", ":1: a: 1e999 is not a finite number"),
    "endless digits": (f"a: {'9' * 5000}\n", ":1: a: 999999"),
    "endless hexadecimal": (f"a: 0x{'f' * 5000}\n", ":1: a: 0xffff"),
    "huge": ("a: 1\n" * 300_000, ": is larger than 1024 KiB"),
    "escape codes in a key": ('"\\e[31m": {1: 2}\n', r":1: \x1b[31m: the key 1 is not text"),
}


@pytest.mark.parametrize(("text", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_file_is_refused_in_one_line(
    refusals: Callable[..., list[str]], text: str | bytes, expected: str
) -> None:
    (line,) = refusals(text)
    assert line.startswith(f"configs/experiment.yaml{expected}")


def test_every_odd_key_of_a_file_is_named_at_once(refusals: Callable[..., list[str]]) -> None:
    lines = refusals("a: 1\na: 2\n1: x\nb: {c: .inf, c: 2}\n")
    assert [line.partition(". To")[0] for line in lines] == [
        "configs/experiment.yaml:2: a: is already set at configs/experiment.yaml:1",
        "configs/experiment.yaml:3: the key 1 is not text",
        "configs/experiment.yaml:4: b.c: is already set at configs/experiment.yaml:4",
        "configs/experiment.yaml:4: b.c: .inf is not a finite number",
    ]


YAML_LIKE = st.text(st.sampled_from("ab01.:-? ,[]{}&*!|>'\"%@`#~<=\\\n\t\rUux\x85\u2028\ufeff\0é"), max_size=40)


@settings(deadline=None)
@given(text=YAML_LIKE | st.text())
def test_any_text_is_read_or_refused(scratch: Path, text: str) -> None:
    (scratch / "any.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        values, marks = read_yaml(scratch / "any.yaml")
    except Refused as refused:
        plain_lines(refused)
    else:
        canonical(values)
        assert {(key,) for key in values} <= set(marks)


@settings(deadline=None)
@given(
    override=st.from_regex(r"\A[a-c.]{0,5}=?", fullmatch=False)
    | st.tuples(st.just("labels.a="), YAML_LIKE).map("".join)
)
def test_any_override_is_taken_or_refused(scratch: Path, override: str) -> None:
    (scratch / "base.yaml").write_text(BASE + "  max_depth: 3\n", encoding="utf-8")
    try:
        config = load(scratch / "base.yaml", Experiment, [override])
    except Refused as refused:
        plain_lines(refused)
    else:
        assert override.startswith("labels.a=")
        assert list(config.labels) == ["a"]


# Attacks on the place of the file


def test_missing_file_and_folder_are_refused(loaded: Callable[..., Experiment]) -> None:
    for path, expected in [
        ("configs/none.yaml", "configs/none.yaml: there is no such file"),
        ("configs", "configs: is a folder, not a file"),
        ("configs/base.yaml/x", "configs/base.yaml/x: "),
        ("configs/" + "x" * 300, "configs/xxx"),
    ]:
        with pytest.raises(Refused) as refused:
            load(Path(path), Experiment)
        assert str(refused.value).startswith(expected)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders, and links need a privilege there")
def test_pipe_and_endless_link_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(Refused, match=r"pipe\.yaml: is a pipe or a device, not a file"):
        read_yaml(tmp_path / "pipe.yaml")
    (tmp_path / "link.yaml").symlink_to("link.yaml")
    with pytest.raises(Refused, match=r"link\.yaml: cannot be read: .*symbolic links\. To fix it"):
        read_yaml(tmp_path / "link.yaml")


def test_file_outside_the_working_directory_is_named_in_full(
    loaded: Callable[..., Experiment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(Refused) as refused:
        load(tmp_path / "configs/base.yaml", Experiment)
    base = (tmp_path / "configs/base.yaml").resolve().as_posix()
    assert str(refused.value).startswith(
        f"{base}:9: model.max_depth: is missing. To fix it: add `max_depth: ...` under"
    )


EXTENDS = {
    "missing": (
        "seed: 1\nextends: none.yaml\n",
        ":2: extends: names none.yaml, and there is no file configs/none.yaml",
    ),
    "folder": ("extends: ..\n", ":1: extends: names .., and there is no file "),
    "itself": ("extends: experiment.yaml\n", ":1: extends: goes in a circle: configs/experiment.yaml -> configs/exp"),
    "list": ("extends: [base.yaml]\n", ":1: extends: expected the name of one file"),
    "null": ("extends:\n", ":1: extends: expected the name of one file"),
    "nul character": ('extends: "a\\0b"\n', ":1: extends: expected the name of one file"),
}


@pytest.mark.parametrize(("text", "expected"), EXTENDS.values(), ids=EXTENDS)
def test_extends_that_leads_nowhere_is_refused(refusals: Callable[..., list[str]], text: str, expected: str) -> None:
    (line,) = refusals(text)
    assert line.startswith(f"configs/experiment.yaml{expected}")


def test_circle_through_another_file_names_the_whole_circle(refusals: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "middle.yaml").write_text("seed: 1\nextends: configs/experiment.yaml\n")
    (line,) = refusals("extends: ../middle.yaml\n")
    circle = "configs/experiment.yaml -> middle.yaml -> configs/experiment.yaml"
    assert line.startswith(f"middle.yaml:2: extends: goes in a circle: {circle}.")


def test_fault_in_the_extended_file_is_placed_there(refusals: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "configs/base.yaml").write_text(BASE.replace("seed: 42", "seed: '42'"), encoding="utf-8")
    (line,) = refusals(ENTRY)
    assert line.startswith("configs/base.yaml:5: seed: input should be a valid integer, got '42'.")


# What the model says

WRONG = {
    "text for a whole number": (
        "model: {max_depth: three}",
        ":1: model.max_depth: input should be a valid integer, got 'three'",
    ),
    "float for a whole number": ("seed: 3.0", ":1: seed: input should be a valid integer, got 3.0"),
    "boolean for a whole number": ("seed: true", ":1: seed: input should be a valid integer, got true"),
    "leading zero": ("seed: 012", ":1: seed: input should be a valid integer, got '012'"),
    "underscore": ("seed: 1_000", ":1: seed: input should be a valid integer, got '1_000'"),
    "quoted number": ("model: {rate: '0.1'}", ":1: model.rate: input should be a valid number, got '0.1'"),
    "number for text": ("experiment_name: 3", ":1: experiment_name: input should be a valid string, got 3"),
    "boolean for text": ("experiment_name: true", ":1: experiment_name: input should be a valid string, got true"),
    "number for a path": ("data: {path: 3}", ":1: data.path: input should be a valid string, got 3"),
    "yes for a boolean": ("verbose: yes", ":1: verbose: input should be a valid boolean, got 'yes'"),
    "number for a boolean": ("verbose: 1", ":1: verbose: input should be a valid boolean, got 1"),
    "null": ("seed:", ":1: seed: input should be a valid integer, got null. To fix it: correct the value"),
    "null section": ("model:", ":1: model: input should be an object, got null"),
    "list for a section": ("data: [a]", ":1: data: input should be an object, got a list"),
    "section for a list": (
        "model: {weights: {a: 1}}",
        ":1: model.weights: input should be a valid array, got a section",
    ),
    "item of a list": (
        "model:\n  weights:\n    - 1\n    - x",
        ":4: model.weights[1]: input should be a valid number, got 'x'",
    ),
    "item of a list of sections": (
        "model:\n  layers:\n    - size: 1\n    - size: x",
        ":4: model.layers[1].size: input should be a valid integer, got 'x'",
    ),
    "value of a dict": ("labels: {a: 1}", ":1: labels.a: input should be a valid string, got 1"),
    "not one of": (
        "model: {criterion: ginni}",
        ":1: model.criterion: input should be 'gini' or 'entropy', got 'ginni'",
    ),
    "one of two kinds": (
        "either: []",
        ":1: either: input should be a valid integer or input should be a valid string, got a list",
    ),
    "bound below": ("fraction: 0", ":1: fraction: input should be greater than 0, got 0."),
    "bound above": ("fraction: 1.0", ":1: fraction: input should be less than 1, got 1.0."),
    "at least": ("folds: 1", ":1: folds: input should be greater than or equal to 2, got 1."),
    "at most": ("folds: 12", ":1: folds: input should be less than or equal to 10, got 12."),
    "too short": ("title: x", ":1: title: string should have at least 2 characters, got 'x'."),
    "the project's own rule": (
        "folds: 3",
        r":1: folds: odd folds\nare odd, got 3. To fix it: correct the value",
    ),
    "near key": ("model: {max-depth: 3}", ":1: model.max-depth: unknown key; did you mean model.max_depth."),
    "key of another section": ("max_depth: 3", ":1: max_depth: unknown key; did you mean model.max_depth."),
    "near key in a list": (
        "model: {layers: [{sizes: 1, size: 1}]}",
        ":1: model.layers[0].sizes: unknown key; did you mean",
    ),
    "unknown key": (
        "model: {zzz: 3}",
        ":1: model.zzz: unknown key. To fix it: remove it, or add a field to Model; the keys",
    ),
    "escape codes": ('seed: "\\e[31m"', r":1: seed: input should be a valid integer, got '\x1b[31m'"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_value_the_model_refuses_is_explained_with_its_line(
    refusals: Callable[..., list[str]], tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "configs/base.yaml").write_text(BASE + "  max_depth: 3\n", encoding="utf-8")
    (line,) = refusals(f"{text}\nextends: base.yaml\n")
    assert line.startswith(f"configs/experiment.yaml{expected}")


def test_missing_keys_say_where_to_add_them(refusals: Callable[..., list[str]]) -> None:
    text = "model: {}\nexperiment_name: x\ndata: {path: x}\n"
    assert refusals(text) == [
        "configs/experiment.yaml: seed: is missing. To fix it: add `seed: ...` in configs/experiment.yaml",
        "configs/experiment.yaml:1: model.max_depth: is missing. To fix it: "
        "add `max_depth: ...` under `model:` in configs/experiment.yaml",
    ]
    assert refusals("extends: base.yaml\n") == [
        "configs/experiment.yaml: model.max_depth: is missing. To fix it: "
        "add `max_depth: ...` under `model:` in configs/experiment.yaml, or in configs/base.yaml for every experiment"
    ]


def test_everything_wrong_is_said_at_once(loaded: Callable[..., Experiment]) -> None:
    with pytest.raises(Refused) as refused:
        loaded("extends: base.yaml\nseed: x\nmodl: {}\n", "verbose=2", "nonsense", "tracking.uri=x")
    assert [violation.key for violation in refused.value.violations] == [
        "--set nonsense",
        "--set tracking.uri=x",
        "configs/experiment.yaml:2: seed",
        "configs/experiment.yaml: model.max_depth",
        "--set verbose=2",
        "configs/experiment.yaml:3: modl",
    ]
    assert refused.value.exit_code == 2


def test_value_behind_an_alias_is_placed_where_it_is_written(refusals: Callable[..., list[str]]) -> None:
    (line,) = refusals("labels: &labels\n  a: 1\nextends: base.yaml\nmodel: {max_depth: 3}\n", "labels.b=x")
    assert line.startswith("configs/experiment.yaml:2: labels.a: input should be a valid string")


# Overrides

OVERRIDES = {
    "no value": ("seed", "--set seed: is not of the form key=value"),
    "no key": ("=3", "--set =3: is not of the form key=value"),
    "empty part": ("model..rate=3", "--set model..rate=3: is not of the form key=value"),
    "leading dot": (".seed=3", "--set .seed=3: is not of the form key=value"),
    "space": ("seed =3", "--set seed =3: is not of the form key=value"),
    "wrong type": ("model.max_depth=x", "--set model.max_depth=x: input should be a valid integer, got 'x'"),
    "nothing": ("model.max_depth=", "--set model.max_depth=: input should be a valid integer, got null"),
    "near key": ("model.max_dept=3", "--set model.max_dept=3: unknown key; did you mean model.max_depth."),
    "section left out": ("max_depth=3", "--set max_depth=3: unknown key; did you mean model.max_depth."),
    "near section": ("modle.rate=3", "--set modle.rate=3: modle: unknown key; did you mean model."),
    "into a number": ("seed.x=3", "--set seed.x=3: seed: input should be a valid integer, got a section"),
    "into a list": (
        "model.weights.0=3",
        "--set model.weights.0=3: model.weights: input should be a valid array, got a section",
    ),
    "inside the value": (
        "model={rate: x}",
        "--set model={rate: x}: model.rate: input should be a valid number, got 'x'",
    ),
    "duplicate key": ("labels={a: x, a: y}", "--set labels={a: x, a: y}: a: is already set at"),
    "comment": ("experiment_name=a #1", "--set experiment_name=a #1: YAML does not read this as one value"),
    "only a comment": ("experiment_name=#1", "--set experiment_name=#1: YAML does not read this as one value"),
    "block": ("experiment_name=a: b", "--set experiment_name=a: b: YAML does not read this as one value"),
    "document": ("experiment_name=---", "--set experiment_name=---: YAML does not read this as one value"),
    "tag": ("seed=!!int 3", "--set seed=!!int 3: the tag !!int is not allowed"),
    "infinity": ("model.rate=.inf", "--set model.rate=.inf: .inf is not a finite number"),
    "open bracket": ("model.weights=[1", "--set model.weights=[1: not valid YAML at column 3: expected ',' or ']'"),
    "line break": ("seed=a\nb", r"--set seed=a\nb: input should be a valid integer, got 'a b'"),
    "bytes": ("seed=\udce9", r"--set seed=\udce9: holds the control character"),
    "extends": ("extends=base.yaml", "--set extends=base.yaml: only a file can extend another"),
    "policy": ("policy.required_tags=[]", "--set policy.required_tags=[]: is the team's and cannot differ"),
}


@pytest.mark.parametrize(("override", "expected"), OVERRIDES.values(), ids=OVERRIDES)
def test_wrong_override_is_refused_in_one_line(
    refusals: Callable[..., list[str]], override: str, expected: str
) -> None:
    (line,) = refusals(ENTRY, override)
    assert line.startswith(expected)


# The team's sections


@pytest.mark.parametrize("name", ["policy", "tracking"])
def test_section_of_the_team_is_refused_outside_the_base_file(
    refusals: Callable[..., list[str]], tmp_path: Path, name: str
) -> None:
    expected = f": {name}: is the team's and cannot differ for one experiment. To fix it: "
    (line,) = refusals(f"{ENTRY}{name}: {{}}\n")
    assert line.startswith(f"configs/experiment.yaml:4{expected}")
    assert "configs/base.yaml, for everyone" in line
    (alone,) = refusals(f"{name}: {{}}\n")
    assert alone.startswith(f"configs/experiment.yaml:1{expected}")
    (tmp_path / "base.yaml").write_text(f"extends: configs/base.yaml\n{name}: {{}}\n")
    (between,) = refusals("extends: ../base.yaml\n")
    assert between.startswith(f"base.yaml:2{expected}")


def test_section_of_the_team_is_read_alone(loaded: Callable[..., Experiment], tmp_path: Path) -> None:
    class Tracking(Section):
        uri: str
        retries: int = 3

    base = tmp_path / "configs/base.yaml"
    section = load_section(base, "tracking", Tracking)
    assert section == Tracking(uri="sqlite:///mlflow.db")
    base.write_text("seed: not checked here\ntracking:\n  url: x\n  retries: many\n")
    with pytest.raises(Refused) as refused:
        load_section(base, "tracking", Tracking)
    assert [str(violation) for violation in refused.value.violations] == [
        "configs/base.yaml:2: tracking.uri: is missing. "
        "To fix it: add `uri: ...` under `tracking:` in configs/base.yaml",
        "configs/base.yaml:4: tracking.retries: input should be a valid integer, got 'many'. "
        "To fix it: correct the value",
        "configs/base.yaml:3: tracking.url: unknown key; did you mean tracking.uri. "
        "To fix it: write tracking.uri, or remove the line",
    ]
    base.write_text("seed: 1\n")
    with pytest.raises(Refused, match=r"^configs/base.yaml: tracking.uri: is missing"):
        load_section(base, "tracking", Tracking)


# Through the command

COMMAND: dict[str, tuple[str, tuple[str, ...], str]] = {
    "unknown key": (
        "model:\n  max_dept: 3\n",
        (),
        "configs/mine.yaml:3: model.max_dept: unknown key; did you mean model.max_depth.",
    ),
    "override": ("", ("--set", "model.max_depth=x"), "--set model.max_depth=x: input should be a valid integer"),
    "duplicate key": ("seed: 1\nseed: 2\n", (), "configs/mine.yaml:3: seed: is already set at configs/mine.yaml:2"),
    "policy": ("policy: {}\n", (), "configs/mine.yaml:2: policy: is the team's and cannot differ"),
}


@pytest.mark.parametrize(("text", "options", "expected"), COMMAND.values(), ids=COMMAND)
def test_command_refuses_a_wrong_config_in_one_line(
    run_in: Callable[..., Any], fresh_project: Path, text: str, options: tuple[str, ...], expected: str
) -> None:
    (fresh_project / "configs/mine.yaml").write_text(f"extends: experiment.yaml\n{text}", encoding="utf-8")
    done = run_in(fresh_project, "python", "scripts/train.py", "--config", "configs/mine.yaml", *options)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {expected}")
    assert not (fresh_project / "mlflow.db").exists()
