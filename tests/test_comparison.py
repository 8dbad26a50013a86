"""The comparison of two runs without a store: inputs, tables, JSON, the HTML page and the charts in it."""

import json
import math
import re
import zipfile
from array import array
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reproducibility.comparison import table
from reproducibility.comparison.chart import ticks
from reproducibility.comparison.content import content_digest
from reproducibility.comparison.diff import Difference, difference
from reproducibility.comparison.inputs import InputDifference, UnknownInput, compare_inputs
from reproducibility.comparison.metrics import History, compare_metrics
from reproducibility.comparison.outputs import Finding, Outcome, Pair, first_difference, worst
from reproducibility.comparison.page import page, thinned, write
from reproducibility.comparison.verdict import COMPARED, REPRODUCED, Verdict, show_verdict
from reproducibility.comparison.verified import VerifiedRun
from reproducibility.config.values import config_digest, flatten
from reproducibility.config.yaml import to_yaml
from reproducibility.digest import canonical, digest
from reproducibility.errors import Refused
from reproducibility.evidence import ManifestError, agreement
from reproducibility.git.compare import CodeDifference, FileDifference
from reproducibility.policy import EXACT
from reproducibility.tags import INTERNAL, PROCESS_TAG, TOKEN_DIGEST_TAG, TOKEN_TAG
from reproducibility.tracking.recorded import RecordedRun

Change = Callable[[dict[str, Any]], None]
HOSTILE = ':smile: [red]bold[/red] \x1b[31m\u202e <script>alert("x")</script><img src=http://x/>'


def recorded(
    change: Change = lambda manifest: None,
    config: dict[str, Any] | None = None,
    lock: bytes = b"",
    patch: bytes = b"",
    **own: Any,
) -> RecordedRun:
    """A run whose record agrees with itself. *change* edits its manifest before that is sealed; *own* its tags."""
    config = {"seed": 1, "data": {"path": "data/rows.csv"}, "model": {"depth": 5}} | (config or {})
    tags = {
        "git_commit": "a" * 40,
        "git_dirty": "true" if patch else "false",
        "git_remote": "none",
        "data_version": digest(b"rows"),
        "image": "none",
    }
    environment = {"implementation": "CPython", "python": "3.11.7", "platform": "Linux", "machine": "x86_64"}
    environment |= {"cpu": "one", "cores": 2, "gpus": [], "hash_seed": "0", "image": "none", "drift": []}
    environment["packages"] = {"numpy": "2.0"}
    manifest = {
        "schema": 1,
        "tags": tags | {"config_digest": config_digest(config), "lock_digest": digest(lock)},
        "params": flatten(config),
        "policy": {},
        "patch_digest": digest(patch) if patch else None,
        "data_files": [{"path": ".", "size": 4, "digest": digest(b"rows")}],
        "environment": environment,
        "overrides": [],
        "entry_point": "scripts/train.py",
        "numerics": {"processors": 2, "cpu_quota": None, "variables": {}, "torch": None},
        "seeding": {"libraries": ["numpy"]},
    }
    change(manifest)
    files = {"manifest.json": canonical(manifest), "config.yaml": to_yaml(config).encode(), "requirements.txt": lock}
    files |= {"uncommitted.patch": patch} if patch else {}
    params = dict(manifest["params"])
    run = SimpleNamespace(
        info=SimpleNamespace(run_id="f" * 32, run_name="a name", status="FINISHED", start_time=0),
        data=SimpleNamespace(
            tags=manifest["tags"] | {"manifest_digest": digest(canonical(manifest))} | own, params=params, metrics={}
        ),
    )
    return RecordedRun(run, "an experiment", files, params)


def history(*values: float, start: int = 0) -> History:
    return History(array("q", range(start, start + len(values))), array("d", values))


def compared(
    a: RecordedRun | None = None,
    b: RecordedRun | None = None,
    metrics: dict[str, tuple[History, History]] | None = None,
    code: CodeDifference | None = None,
    finished: tuple[bool, bool] = (True, True),
) -> Difference:
    """The difference of two runs, which have the same record unless they are given."""
    histories = [{name: pair[side] for name, pair in (metrics or {}).items()} for side in (0, 1)]
    finals = [{name: each.values[-1] for name, each in side.items() if len(each)} for side in histories]
    runs = (VerifiedRun(a or recorded()), VerifiedRun(b or recorded()))
    return difference(
        *runs, tuple(compare_metrics(finals, histories, EXACT, finished)), lambda *_: code or CodeDifference()
    )


def seen(found: Difference, capsys: pytest.CaptureFixture[str], as_json: bool = False) -> str:
    table.show_difference(found, ("A", "B"), as_json)
    return capsys.readouterr().out


# --- the manifest


@pytest.mark.parametrize(
    ("change", "at_fault"),
    [
        (lambda manifest: manifest.update(tags={}), "tags.git_commit"),
        (lambda manifest: manifest["tags"].pop("lock_digest"), "tags.lock_digest"),
        (lambda manifest: manifest["tags"].update(own=1), "tags.own"),
        (lambda manifest: manifest["tags"].update(git_remote="https://x/\0"), "tags.git_remote"),
        (lambda manifest: manifest.update(environment={}), "environment.implementation"),
        (lambda manifest: manifest["environment"].update(hash_seed="\0"), "environment.hash_seed"),
        (lambda manifest: manifest["environment"].update(drift=["numpy"]), "environment.drift.0"),
        (lambda manifest: manifest["environment"].update(drift=[{"package": "a"}]), "environment.drift.0.locked"),
        (lambda manifest: manifest.update(seeding="x"), "seeding"),
        (lambda manifest: manifest.update(config_files=["configs/a.yaml\0"]), "config_files.0"),
        (lambda manifest: manifest["data_files"][0].update(size="7"), "data_files"),
        (lambda manifest: manifest["data_files"][0].pop("digest"), "data_files"),
        (lambda manifest: manifest.update(data_files=["rows.csv"]), "data_files.0"),
        (lambda manifest: manifest["data_files"][0].update(path="../outside"), "data_files"),
        (lambda manifest: manifest["data_files"][0].update(path="/outside"), "data_files"),
        (lambda manifest: manifest["data_files"][0].update(path="rows\0"), "data_files"),
    ],
)
def test_a_manifest_that_its_readers_could_not_use_is_none(change: Change, at_fault: str) -> None:
    altered = recorded(change)
    with pytest.raises(ManifestError, match=f"^manifest.json is not a manifest: {at_fault}$"):
        _ = altered.manifest
    (finding, *_) = [check for check in agreement({}, {}, altered.evidence) if not check.holds]
    assert (finding.name, finding.detail) == ("manifest", f"manifest.json is not a manifest: {at_fault}")


def test_a_manifest_of_another_version_may_have_more_and_names_that_are_no_utf8() -> None:
    def more(manifest: dict[str, Any]) -> None:
        manifest.update(later={"a": 1})
        manifest["environment"].update(later=[1.5])
        manifest["tags"].update(later="x")
        manifest["data_files"] = [{"path": "a\udcff..b/..c", "size": 4, "digest": digest(b"rows"), "later": None}]
        del manifest["seeding"]

    assert recorded(more).manifest["environment"]["later"] == [1.5]


# --- inputs


def environment(**changed: Any) -> Change:
    return lambda manifest: manifest["environment"].update(changed)


def numerics(**changed: Any) -> Change:
    return lambda manifest: manifest["numerics"].update(changed)


def without_numerics(manifest: dict[str, Any]) -> None:
    del manifest["numerics"]


def all_cores(number: int) -> Change:
    """As recorded by a process that could use all of *number* cores."""
    return lambda manifest: (environment(cores=number)(manifest), numerics(processors=number)(manifest))


def seeding(*libraries: str) -> Change:
    return lambda manifest: manifest.update(seeding={"libraries": list(libraries)})


def other_data(manifest: dict[str, Any]) -> None:
    manifest["tags"]["data_version"] = digest(b"others")
    manifest["data_files"] = [{"path": ".", "size": 6, "digest": digest(b"others")}]


LOCKED = environment(drift=[{"package": "numpy", "installed": "2.1", "locked": "2.0"}], packages={"numpy": "2.1"})
# What the second run has that the first has not, and every difference that is named for it.
INPUTS: dict[str, tuple[dict[str, Any], list[tuple[str, str, str | None, str | None]]]] = {
    "nothing": ({}, []),
    "a tag of a person": ({"note": "mine"}, []),
    "a commit": (
        {"change": lambda manifest: manifest["tags"].update(git_commit="b" * 40)},
        [("code", "git_commit", "a" * 40, "b" * 40)],
    ),
    "uncommitted changes": ({"patch": b"+x"}, [("code", "patch", None, digest(b"+x"))]),
    "a value": ({"config": {"model": {"depth": 6}}}, [("config", "model.depth", "5", "6")]),
    "a type": ({"config": {"model": {"depth": "5"}}}, [("config", "model.depth", "5", '"5"')]),
    "another key": ({"config": {"rate": 1}}, [("config", "rate", None, "1")]),
    "the seed": ({"config": {"seed": 2}}, [("seed", "seed", "1", "2")]),
    "data": (
        {"change": other_data},
        [("data", ".", f"4 bytes, {digest(b'rows')[:10]}", f"6 bytes, {digest(b'others')[:10]}")],
    ),
    "an interpreter": ({"change": environment(python="3.12.1")}, [("interpreter", "python", "3.11.7", "3.12.1")]),
    "a GPU": ({"change": environment(gpus=["H1"])}, [("machine", "gpus", "none", "H1")]),
    "a variable": (
        {"change": numerics(variables={"OPENBLAS_NUM_THREADS": "1"})},
        [("numerics", "OPENBLAS_NUM_THREADS", None, "1")],
    ),
    "fewer processors": ({"change": numerics(processors=1)}, [("numerics", "processors", "2", "1")]),
    "a number of processors that is unknown": ({"change": numerics(processors=None)}, []),
    "a quota": ({"change": numerics(cpu_quota=1.5)}, [("numerics", "cpu_quota", None, "1.5")]),
    "more cores, and all of them used": ({"change": all_cores(4)}, [("numerics", "processors", "2", "4")]),
    "more cores, and as many used": ({"change": environment(cores=4)}, [("machine", "cores", "2", "4")]),
    "torch loaded before the start": ({"change": numerics(torch={"num_threads": 2})}, []),
    "a hash seed": ({"change": environment(hash_seed="random")}, [("seed", "hash_seed", "0", "random")]),
    "a library to seed": ({"change": seeding("numpy", "torch")}, [("seed", "libraries", "numpy", "numpy, torch")]),
    "a package": ({"change": environment(packages={"numpy": "2.1"})}, [("packages", "numpy", "2.0", "2.1")]),
    "a package that is not as locked": (
        {"change": LOCKED},
        [("packages", "numpy", "2.0", "2.1 (the lock says 2.0)")],
    ),
    "an image": (
        {"change": lambda manifest: manifest["tags"].update(image="sha256:1")},
        [("image", "image", "none", "sha256:1")],
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_each_input_that_differs_is_named_with_both_values(name: str) -> None:
    options, expected = INPUTS[name]
    a, b = recorded(), recorded(**options)
    assert [(each.kind, each.name, each.a, each.b) for each in compare_inputs(a, b)] == expected
    assert [(each.kind, each.name, each.b, each.a) for each in compare_inputs(b, a)] == [
        (kind, name, left, right) for kind, name, left, right in expected
    ]


def test_settings_of_torch_are_compared_where_both_runs_have_them() -> None:
    runs = [recorded(numerics(torch={"num_threads": 2, "cudnn.allow_tf32": tf32})) for tf32 in (True, False)]
    assert [(each.kind, each.name, each.a, each.b) for each in compare_inputs(*runs)] == [
        ("numerics", "torch.cudnn.allow_tf32", "True", "False")
    ]


def test_packages_that_no_lock_names_are_not_compared_and_pins_of_other_platforms_are() -> None:
    lock = b"numpy==2.0 ; sys_platform == 'none of them' \\\n    --hash=sha256:" + b"0" * 64 + b"\n"
    runs = [
        recorded(environment(packages={"numpy": numpy, "a-tool": tool}), lock=lock)
        for numpy, tool in (("2.0", "1"), ("2.1", "2"))
    ]
    assert [(each.kind, each.name) for each in compare_inputs(*runs)] == [("packages", "numpy")]


def test_of_runs_without_a_manifest_the_locks_are_compared() -> None:
    locks = [b"numpy==%s\ncolorama==1.0 ; sys_platform == 'win32'\n" % version for version in (b"2.0", b"2.1")]
    runs = [recorded(lock=lock) for lock in locks]
    bare = [replace(run, evidence={"requirements.txt": lock}) for run, lock in zip(runs, locks, strict=True)]
    found = {(each.kind, each.name, each.a, each.b) for each in compare_inputs(*bare)}
    assert ("packages", "numpy", "2.0", "2.1") in found
    assert not {name for kind, name, *_ in found if kind == "packages"} - {"numpy"}


def test_what_explains_most_comes_first() -> None:
    config = {"model": {"depth": 6}, "seed": 2}

    def another_machine(manifest: dict[str, Any]) -> None:
        environment(python="3.12.1", cpu="two")(manifest)
        numerics(processors=1)(manifest)

    found = compare_inputs(recorded(), recorded(another_machine, config=config))
    assert [each.kind for each in found] == ["config", "interpreter", "numerics", "machine", "seed"]


@pytest.mark.parametrize(
    ("part", "content", "check"),
    [
        ("config.yaml", b"seed: 7\n", "config digest"),
        ("requirements.txt", b"numpy==1.0\n", "lock digest"),
        ("manifest.json", None, "manifest digest"),
    ],
)
def test_an_altered_part_is_named_and_not_relied_on(part: str, content: bytes | None, check: str) -> None:
    run = recorded()
    content = content or run.evidence[part].replace(b"CPython", b"Jython")
    altered = VerifiedRun(replace(run, evidence={**run.evidence, part: content}))
    assert check in [clause.partition(":")[0] for clause in altered.altered]
    assert [altered.config, altered.lock, altered.manifest].count(None) == 1
    kinds = [each.kind for each in compare_inputs(recorded(), altered.recorded)]
    assert kinds[0] == "altered record"
    assert "interpreter" not in kinds


def test_the_run_of_a_later_version_is_unknown_and_not_altered() -> None:
    later = recorded(lambda manifest: manifest.update(schema=2))
    assert VerifiedRun(later).altered == ()
    found = compared(recorded(), later)
    assert (found.verdict, found.exit_status) == ("unknown", 2)
    assert [each.kind for each in found.unknown] == ["machine"]
    assert "has the schema '2'" in found.unknown[0].why


# --- the verdict of a difference

STEPS = {"loss": (history(1.0, 0.5), history(1.0, 0.4))}


def test_the_results_alone_are_nondeterminism_and_the_hash_seed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(recorded(environment(hash_seed="random")), recorded(environment(hash_seed="random")), STEPS)
    assert (found.verdict, found.exit_status) == ("nondeterminism", 1)
    output = seen(found, capsys)
    assert "Nondeterminism: all recorded inputs are the same" in output
    assert "hash seed was random" in output
    assert f"repro reproduce {'f' * 32}" in output


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [(without_numerics, without_numerics, "neither run has"), (without_numerics, lambda _: None, "A has not")],
)
def test_runs_that_did_not_record_what_numbers_depend_on_are_no_nondeterminism(
    capsys: pytest.CaptureFixture[str], a: Change, b: Change, words: str
) -> None:
    found = compared(recorded(a), recorded(b), STEPS)
    assert (found.verdict, found.exit_status, found.input_differences) == ("unexplained", 1, ())
    output = seen(found, capsys)
    assert f"unknown (numerics): {words} recorded its processors" in output
    assert "Nondeterminism" not in output
    same = compared(recorded(a), recorded(b))
    assert (same.verdict, same.exit_status) == ("identical", 0)


def test_with_something_unknown_the_results_are_unexplained() -> None:
    found = compared(recorded(lambda manifest: manifest.update(entry_point=None)), metrics=STEPS)
    assert (found.verdict, found.exit_status) == ("unexplained", 1)
    assert [(each.kind, each.why[:2]) for each in found.unknown] == [("code", "A:")]


def test_files_that_no_training_reads_change_no_result() -> None:
    files = [
        FileDifference(path, True, True, (1, 2), None) for path in ("README.md", "src/model.py", "tests/test_x.py")
    ]
    runs = (recorded(), recorded(lambda manifest: manifest["tags"].update(git_commit="b" * 40)))
    found = compared(*runs, code=CodeDifference(files=tuple(files)))
    assert found.input_differences == (InputDifference("code", "src/model.py", "1 line", "2 lines"),)
    assert {each.name for each in found.irrelevant} == {"git_commit", "README.md", "tests/test_x.py"}


def test_a_config_file_counts_by_what_the_runs_made_of_it() -> None:
    contents = {"depth": (b"model:\n  depth: 5\n", b"model:\n  depth: 6\n"), "price": (b"price: 1\n", b"price: 2\n")}
    files = [
        FileDifference(f"configs/{name}.yaml", True, True, (1, 1), both) for name, both in sorted(contents.items())
    ]
    runs = (recorded(), recorded(lambda manifest: manifest["tags"].update(git_commit="b" * 40)))
    found = compared(*runs, code=CodeDifference(files=tuple(files)))
    assert [each.name for each in found.input_differences] == ["configs/price.yaml"]


# --- what a person and a machine read


def test_the_machinery_s_own_tags_are_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    internal = {PROCESS_TAG: "1", TOKEN_DIGEST_TAG: "x", TOKEN_TAG: "y", f"{INTERNAL}later": "z", "mlflow.runName": "n"}
    found = compared(recorded(), recorded(note="mine", **internal))
    assert [each.name for each in found.irrelevant] == ["tag note"]
    for text in (seen(found, capsys), seen(found, capsys, as_json=True), page(found)):
        assert "tag note" in text
        assert INTERNAL not in text
        assert "mlflow." not in text


def test_the_json_has_no_number_that_json_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"nothing": (history(math.nan), history(math.inf)), **STEPS}
    report = json.loads(seen(compared(metrics=metrics), capsys, as_json=True), parse_constant=pytest.fail)
    nothing, loss = sorted(report["metrics"], key=lambda metric: metric["name"], reverse=True)
    assert (nothing["a"], nothing["divergence"]) == (None, {"step": 0, "a": [None], "b": [None]})
    assert (loss["a"], loss["b"], loss["divergence"]) == (0.5, 0.4, {"step": 1, "a": [0.5], "b": [0.4]})
    assert report["verdict"] == "nondeterminism"
    assert set(report) == {
        *("verdict", "a", "b", "input_differences", "unknown", "results", "metrics", "irrelevant"),
        *("commits", "unfinished"),
    }


def test_results_that_differ_are_named_by_kind_and_name(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [recorded(), recorded()]
    for run, value in zip(runs, ("one", "two"), strict=True):
        run.run.data.params["learned"] = value
    runs = [replace(run, params=run.run.data.params) for run in runs]
    runs[1].run.info.status = "FAILED"
    found = compared(*runs)
    assert found.verdict == "nondeterminism"
    assert [(each.kind, each.name, each.a, each.b) for each in found.results] == [
        ("run", "status", "FINISHED", "FAILED"),
        ("param", "learned", "one", "two"),
    ]
    assert "run status" in seen(found, capsys)


def test_hostile_text_stays_text_in_the_terminal_and_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {HOSTILE: (history(1.0, 2.0), history(1.0, 3.0))}
    a, b = recorded(), recorded(config={HOSTILE: HOSTILE}, **{HOSTILE: HOSTILE})
    a.run.info.run_name = a.run.info.run_id = HOSTILE
    found = compared(a, b, metrics)
    terminal, text = seen(found, capsys), page(found)
    assert not set("\x1b\u202e") & set(terminal + text)
    assert ":smile: [red]bold[/red] \\x1b" in terminal
    assert "<script" not in text and "<img" not in text
    assert "&lt;script&gt;" in text
    with pytest.raises(Refused, match="cannot be written"):
        write(found, "no/such/folder/page.html")


def test_the_page_shows_all_that_the_terminal_shows() -> None:
    code = CodeDifference(
        files=(FileDifference("src/model.py", True, True, (1, 1), None),),
        only_a=("1234567 An <old> commit",),
        patch=b"-old\n+new <b>\n",
    )
    runs = (recorded(), recorded(lambda manifest: manifest["tags"].update(git_commit="b" * 40)))
    found = compared(*runs, STEPS, code)
    text = page(replace(found, unknown=(UnknownInput("code", "A: lost"),)))
    for expected in (
        *("Their inputs differ", "Inputs that differ", "src/model.py", "unknown (code): A: lost", "from step 1"),
        *("1234567 An &lt;old&gt; commit", "<span class=plus>+new &lt;b&gt;</span>", "git_commit"),
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("a", "b", "shown"),
    [
        ("short", None, ("short", "-")),
        ("one\nline", "x", ("one\\nline", "x")),
        ("x" * 100 + "a", "x" * 100 + "b", ("..." + "x" * 20 + "a", "..." + "x" * 20 + "b")),
        ("a" + "x" * 100, "b" + "x" * 100, ("a" + "x" * 59 + "...", "b" + "x" * 59 + "...")),
    ],
)
def test_two_long_values_are_cut_to_where_they_begin_to_differ(a, b, shown: tuple[str, str]) -> None:
    assert table.pair(a, b) == shown


@pytest.mark.parametrize(
    ("a", "b", "shown"),
    [
        (0.5, 0.25, ("0.5", "0.25")),
        (0.3, 0.1 + 0.2, ("0.3", "0.30000000000000004")),
        (math.nan, math.nan, ("nan", "nan")),
        (1.7976931348623157e308, -1.7976931348623157e308, ("inf", "-inf")),
    ],
)
def test_final_values_that_differ_look_different(a: float, b: float, shown: tuple[str, str]) -> None:
    (metric,) = compare_metrics(({"x": a}, {"x": b}), ({"x": history(a)}, {"x": history(b)}), EXACT)
    assert table.numbers(metric) == shown


# --- charts


def drawn(a: History, b: History) -> str:
    (figure,) = re.findall(r"<svg .*?</svg>", page(compared(metrics={"loss": (a, b)})))
    return figure


def points(figure: str, side: str) -> list[tuple[float, float]]:
    (path,) = re.findall(rf'<path class="{side}" d="(.*?)"', figure)
    return [tuple(map(float, point.split())) for point in re.split("[ML]", path) if point]


def test_a_chart_shows_both_histories_and_the_step_at_which_they_differ() -> None:
    figure = drawn(history(1.0, 2.0, 3.0), history(1.0, 2.0, 4.0))
    a, b = points(figure, "a"), points(figure, "b")
    assert a[:2] == b[:2] and len(a) == len(b) == 3
    assert b[2][0] == a[2][0] > a[1][0] > a[0][0]  # further right with each step
    assert b[2][1] < a[2][1] < a[1][1] < a[0][1]  # higher up with the value
    (line,) = re.findall(r'<line class="divergence" x1="([\d.]+)"', figure)
    assert float(line) == a[2][0]


def test_what_is_no_number_is_a_gap_and_a_point_alone_is_a_dot() -> None:
    figure = drawn(history(1.0, 1.5, math.nan, 2.0), history(1.0))
    assert len(points(figure, "a")) == 2
    assert figure.count('<circle class="a"') == figure.count('<circle class="b"') == 1


def test_infinity_does_not_flatten_the_other_values() -> None:
    highest = 1.7976931348623157e308
    figure = drawn(history(1.0, 2.0, highest), history(1.0, 2.5, 3.0))
    heights = [y for _, y in points(figure, "b")]
    assert max(heights) - min(heights) > 50


def test_a_metric_without_a_curve_has_no_chart_and_at_most_twelve_are_drawn() -> None:
    without = {"no number": (history(math.nan, math.nan), history(math.nan)), "one": (history(1.0), history(2.0))}
    assert "<svg" not in page(compared(metrics=without))
    many = {f"metric {number}": (history(1.0, 1.0), history(2.0, 2.0)) for number in range(20)}
    text = page(compared(metrics=many))
    assert text.count("<svg ") == 12
    assert "12 of 20" in text


def test_a_long_history_is_drawn_by_its_extremes() -> None:
    values = [math.sin(step / 50) for step in range(100_000)]
    values[54_321], values[77_777] = 9.0, math.nan
    kept = thinned(history(*values))
    assert len(kept) < 1_000
    assert (54_321, 9.0) in kept
    assert sum(math.isnan(value) for _, value in kept) == 1
    assert kept == sorted(kept, key=lambda point: point[0])


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 17), (1e-9, 3e-9), (-1e6, 5), (0.1, 0.10001)])
def test_a_chart_has_a_few_round_ticks(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 5
    assert all(low - (high - low) * 1e-6 <= tick <= high + (high - low) * 1e-6 for tick in found)
    steps = [b - a for a, b in pairwise(found)]
    assert re.fullmatch(r"[125](\.0+)?e[+-]\d+", f"{steps[0]:.3e}")


# --- verdicts

LOSS = Finding("metric", "loss", Outcome.DIFFERENT, 0.5, 0.25, 3, 10)
NEAR = Finding("metric", "acc", Outcome.WITHIN, 0.5, 0.5000001, 2, 10)
SAME = Finding("file", "a.txt", Outcome.IDENTICAL, "blake3:" + "1" * 64, "blake3:" + "1" * 64)


@pytest.mark.parametrize(
    ("findings", "outcome", "first"),
    [
        ((), "identical", None),
        ((SAME,), "identical", None),
        ((SAME, NEAR), "within tolerance", NEAR),
        ((NEAR, LOSS, SAME), "different", LOSS),
    ],
)
def test_a_verdict_is_that_of_the_worst_finding(findings, outcome: str, first: Finding | None) -> None:
    verdict = Verdict("a", (Pair("", "a", "b", findings),), (), (), "page")
    assert (verdict.outcome, verdict.first_difference) == (outcome, first)
    assert verdict.holds is (outcome != "different")
    assert verdict.as_json()["verdict"] == outcome


def test_a_nested_run_is_judged_alone_and_the_outermost_with_all() -> None:
    pairs = (Pair("", "a", "b", (SAME,)), Pair("in", "c", "d", (LOSS,)), Pair("in", "e", None, ()))
    assert [Verdict(run, pairs, (), (), "").outcome for run in ("a", "c", "e")] == [
        "different",
        "different",
        "identical",
    ]


def test_the_first_difference_is_a_run_then_the_lowest_step() -> None:
    run = Finding("run", "in", Outcome.DIFFERENT, "a", None)
    earlier = replace(LOSS, name="z", step=1)
    file = replace(SAME, outcome=Outcome.DIFFERENT)
    assert first_difference([file, LOSS, earlier]) == earlier
    assert first_difference([file, LOSS, earlier, run]) == run
    assert worst([Outcome.WITHIN, Outcome.IDENTICAL]) is Outcome.WITHIN
    assert str(LOSS) == "metric loss at step 3 is 0.5 and 0.25"
    assert str(run) == "run in is in the first run and not in the second"


def test_a_verdict_names_the_reproduction_and_the_inputs_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    inputs = (
        InputDifference("interpreter", "python", "3.11", "3.12"),
        InputDifference("config", "rate", None, HOSTILE),
        InputDifference("numerics", "processors", "4", "2"),
    )
    pair = Pair("", "1" * 32, "2" * 32, (replace(LOSS, name=HOSTILE), SAME, replace(NEAR, a=math.nan, b=0.5)))
    verdict = Verdict("1" * 32, (pair,), inputs, ("python: 3.11 and 3.12",), "http://store/runs/2")
    show_verdict(verdict, as_json=False)
    output = capsys.readouterr().out
    assert f"run {'1' * 32} and its reproduction {'2' * 32}" in output
    assert "DIFFERENT: the results are not the same" in output
    assert "inputs that differ" in output and "3.12" in output
    assert output.count("Processors: run 4, reproduction 2. Sums are split among them") == 1
    assert "Forced, so do not rely on it: python: 3.11 and 3.12" in output
    assert not set("\x1b\u202e") & set(output)
    show_verdict(verdict, as_json=True)
    report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert report["input_differences"][0] == {"kind": "interpreter", "name": "python", "a": "3.11", "b": "3.12"}
    assert report["runs"][0]["findings"][2]["a"] == "nan"
    assert (report["run"], report["reproduction"]) == ("1" * 32, "2" * 32)
    assert REPRODUCED.a != COMPARED.a


# --- content


def test_models_are_compared_without_ids_and_versions(tmp_path: Path) -> None:
    digests = []
    for number, (python, model_id) in enumerate((("3.11.7", "m-1"), ("3.12.1", "m-2"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        flavors = {"python_function": {"python_version": python, "loader_module": "x"}}
        (folder / "MLmodel").write_text(json.dumps({"model_id": model_id, "flavors": flavors}))
        (folder / "python_env.yaml").write_text(f"python: {python}\nbuild_dependencies: [pip=={number}, setuptools]\n")
        digests.append([content_digest(folder / name) for name in ("MLmodel", "python_env.yaml")])
    assert digests[0] == digests[1]
    (tmp_path / "0" / "MLmodel").write_text(json.dumps({"flavors": {"python_function": {"loader_module": "y"}}}))
    assert content_digest(tmp_path / "0" / "MLmodel") != digests[0][0]
    (tmp_path / "0" / "MLmodel").write_text("")  # no mapping: compared as it is
    assert content_digest(tmp_path / "0" / "MLmodel") == digest(b"")


@pytest.mark.parametrize("name", ["model.skops", "MLmodel", "table.zip"])
def test_a_zip_that_is_not_what_its_name_promises_is_compared_as_well(tmp_path: Path, name: str) -> None:
    digests = []
    for content in ("1", "1", "2"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(zipfile.ZipInfo("learned.txt"), content)
        digests.append(content_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]


def test_what_an_unfinished_run_has_not_logged_is_not_called_equal(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [recorded(), recorded()]
    for each in runs:
        each.run.info.status = "FAILED"
    metrics = {
        "accuracy": (history(1.0), history()),
        "loss": (history(3, 2, 1), history(3, 2)),
        "rate": (history(5), history(5)),
    }
    found = compared(*runs, metrics, finished=(False, False))
    assert (found.verdict, found.exit_status) == ("unfinished", 2)
    shown = seen(found, capsys)
    assert "No difference was found as far as both runs got" in shown
    assert "1 of 3 metrics are equal at every step." in shown
    assert "1 of 3 metrics are equal as far as both runs got." in shown
    assert "Not compared, because a run ended before it logged them: accuracy." in shown
    same = {each["name"]: each["same"] for each in json.loads(seen(found, capsys, as_json=True))["metrics"]}
    assert same == {"accuracy": False, "loss": True, "rate": True}
