"""A run's life: what it carries, what its block can do to it, and how it ends: never FINISHED by mistake or RUNNING."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from subprocess import CompletedProcess

import pytest
from workbench import RecordedRun, Workbench, store_at

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could catch")

# Many runs in one process, each named after its scene; a scene is the block of a `with tracked_run`.
SCENES = '''
"""Plays the scenes named."""
import json, os, random, signal, sys, threading
import mlflow, numpy
from reproducibility import PROJECT_ROOT, Refused, Violation, tracked_run

client = lambda: mlflow.MlflowClient()
VALUES = {"experiment_name": "scenes", "seed": 1, "data": {"path": "data/penguins.csv"}}
raised = {}

def empties_a_tag(run): client().set_tag(run.info.run_id, "author", "")
def removes_a_tag(run): client().delete_tag(run.info.run_id, "git_remote")
def changes_a_tag(run): client().set_tag(run.info.run_id, "git_commit", "f" * 40)
def changes_mlflows_own_tag(run): mlflow.set_tag("mlflow.user", "somebody else")
def raises(run):
    token = "ghp_" + "a1B2c3D4e5F6" * 3
    raise ValueError(f"no rows for ada@example.org? see https://ada:secret@example.org/a?b=1 {token}")
def raises_what_no_store_can_write(run): raise ValueError("\\udc80 \\0")
def exits_as_if_all_were_well(run): sys.exit(0)
def ends_itself_and_raises(run): mlflow.end_run(); raise ValueError("after the end")
def ends_itself_and_lacks_a_tag(run): mlflow.end_run(); empties_a_tag(run)
def ends_itself(run): mlflow.end_run()
def ends_itself_as_failed(run): mlflow.end_run("FAILED")
def deletes_itself(run): client().delete_run(run.info.run_id)
def leaves_a_run_open(run): mlflow.start_run(run_name="left open", nested=True)
def starts_another_run(run):
    try: mlflow.end_run()
    except mlflow.MlflowException: mlflow.start_run(run_name="another")
def logs_more_params(run): mlflow.log_param("learned", "3"); mlflow.set_tag("mood", "good")
def draws(run): mlflow.log_metrics({"random": random.random(), "numpy": float(numpy.random.rand())})
def draws_again(run): draws(run)
def changes_the_data(run):
    with open(PROJECT_ROOT / "data" / "penguins.csv", "a") as file: file.write("Adelie,Dream,1,1,1,1,male,2007\\n")
def deletes_the_data(run): os.replace(PROJECT_ROOT / "data/penguins.csv", PROJECT_ROOT / "data/moved.csv")
def presses_ctrl_c(run): signal.raise_signal(signal.SIGINT)
def is_terminated(run): os.kill(os.getpid(), signal.SIGTERM)
def has_a_child(run):
    with tracked_run(VALUES, run_name="child"): pass

def has_a_broken_child(run):
    with tracked_run(VALUES, run_name="broken child"): raise ValueError("the child's")

def play(scene, values=VALUES, name=None, **more):
    name = name or scene.__name__
    data = (PROJECT_ROOT / "data" / "penguins.csv").read_bytes()
    try:
        with tracked_run(values, run_name=name, **more) as run: scene(run)
    except BaseException as error:
        raised[name] = [type(error).__name__, str(error), getattr(error, "code", None)]
    (PROJECT_ROOT / "data" / "penguins.csv").write_bytes(data)
    (PROJECT_ROOT / "data" / "moved.csv").unlink(missing_ok=True)
    assert mlflow.active_run() is None, name
'''
IN_ONE_PROCESS = """
for scene in (
    empties_a_tag, removes_a_tag, changes_a_tag, changes_mlflows_own_tag, raises, raises_what_no_store_can_write,
    exits_as_if_all_were_well, ends_itself_and_raises, ends_itself_and_lacks_a_tag, ends_itself, ends_itself_as_failed,
    deletes_itself, leaves_a_run_open, starts_another_run, logs_more_params, draws, draws_again, changes_the_data,
    deletes_the_data, presses_ctrl_c, is_terminated, has_a_child, has_a_broken_child,
):
    play(scene)
play(draws, VALUES | {"seed": 2}, "draws from another seed")
with tracked_run(VALUES) as run: raised["unnamed"] = run.info.run_name
with tracked_run(VALUES) as run: raised["unnamed, again"] = run.info.run_name
thread = threading.Thread(target=play, args=(draws,), kwargs={"name": "in a thread"})
thread.start(); thread.join()
play(logs_more_params, VALUES | {"many": {f"p{n}": n for n in range(250)}}, "many params")
play(logs_more_params, VALUES | {"long": "x" * 6000}, "long values", tags={"long": "y" * 8000})
print(json.dumps(raised))
"""
ENDED_WELL = {
    *("leaves_a_run_open", "logs_more_params", "draws", "draws_again"),
    *("has_a_child", "child", "draws from another seed", "in a thread", "many params", "long values"),
}
# Each with what the tag `failure` says.
FAILED = {
    "empties_a_tag": "MlflowException: reproducibility gate: author of run ",
    "removes_a_tag": "say where it comes from, and that does not change",
    "changes_a_tag": "MlflowException: reproducibility gate: git_commit of run ",
    "changes_mlflows_own_tag": "MlflowException: reproducibility gate: mlflow.user of run ",
    "raises": "ValueError: no rows for ada@example.org? see https://example.org/a (a GitHub token)",
    "raises_what_no_store_can_write": "ValueError: \\udc80 \\0",
    "exits_as_if_all_were_well": "sys.exit(0) before the end of the run",
    "ends_itself_as_failed": "status: the run was ended (FAILED) or deleted before its block was through",
    "changes_the_data": "data_version: the data changed while the run was going on",
    "deletes_the_data": "data_version: data/penguins.csv does not exist",
    "presses_ctrl_c": "interrupted with Ctrl-C",
    "is_terminated": "terminated by SIGTERM",
    "has_a_broken_child": "ValueError: the child's",
    "broken child": "ValueError: the child's",
}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """One copy of the project, with the scenes in a script of its own, for every test here."""
    workbench = Workbench(run_in, Path(copytree(project, tmp_path_factory.mktemp("life") / project.name)))
    workbench.write("scripts/scenes.py", SCENES)
    workbench.write("scripts/play.py", "from scenes import *\n" + IN_ONE_PROCESS)
    workbench.commit()
    return workbench


@pytest.fixture(scope="module")
def played(workbench: Workbench) -> CompletedProcess[str]:
    done = workbench.run("python", "scripts/play.py", timeout=600)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def runs(workbench: Workbench, played: CompletedProcess[str]) -> dict[str, RecordedRun]:
    return workbench.runs()


@pytest.fixture(scope="module")
def raised(played: CompletedProcess[str]) -> dict[str, list]:
    """What came out of each scene: {name: [type, text, exit code]}."""
    return json.loads(played.stdout.splitlines()[-1])


def test_no_run_is_left_running(runs: dict[str, RecordedRun]) -> None:
    open_runs = {name for name, run in runs.items() if run.status not in ("FINISHED", "FAILED")}
    assert open_runs == {"deletes_itself"}  # MLflow lets nobody end a deleted run


@pytest.mark.parametrize("scene", sorted(ENDED_WELL))
def test_a_run_that_is_complete_at_its_end_is_finished(runs, raised, scene: str) -> None:
    assert runs[scene].status == "FINISHED"
    assert "failure" not in runs[scene].tags
    assert scene not in raised


@pytest.mark.parametrize("scene", sorted(FAILED))
def test_a_run_that_is_not_is_failed_and_says_why(runs, played, scene: str) -> None:
    assert runs[scene].status == "FAILED"
    assert FAILED[scene] in runs[scene].tags["failure"]
    assert f"run {runs[scene].id} ended FAILED: " in played.stderr
    assert "secret" not in played.stderr.replace("ada:secret@example.org/a?b=1\n", "")


def test_a_run_that_its_block_deleted_is_not_finished(runs, raised) -> None:
    assert runs["deletes_itself"].status != "FINISHED"
    assert "deletes_itself" in raised


def test_what_the_block_raised_comes_out_of_it(raised: dict[str, list]) -> None:
    assert raised["raises"][0] == "ValueError"
    assert raised["empties_a_tag"][0] == "MlflowException"
    assert raised["presses_ctrl_c"][0] == "KeyboardInterrupt"
    assert raised["is_terminated"][::2] == ["Terminated", 143]


def test_an_exit_that_claims_success_from_inside_a_run_does_not(raised: dict[str, list]) -> None:
    assert raised["exits_as_if_all_were_well"][::2] == ["SystemExit", 1]


def test_a_run_inside_a_run_is_its_child(runs: dict[str, RecordedRun]) -> None:
    assert runs["child"].tags["mlflow.parentRunId"] == runs["has_a_child"].id
    assert runs["broken child"].tags["mlflow.parentRunId"] == runs["has_a_broken_child"].id
    assert "mlflow.parentRunId" not in runs["raises"].tags


def test_what_the_block_left_open_ends_with_its_run(runs: dict[str, RecordedRun]) -> None:
    assert runs["left open"].status == "FINISHED"


def test_a_run_beside_the_one_of_the_block_does_not_finish(runs, raised) -> None:
    assert (runs["starts_another_run"].status, runs["another"].status) == ("FAILED", "FAILED")
    assert "the run was ended (FAILED)" in raised["starts_another_run"][1]


@pytest.mark.parametrize("scene", ["ends_itself", "ends_itself_and_raises", "ends_itself_and_lacks_a_tag"])
def test_a_run_that_its_block_ends_has_failed(runs, raised, played, scene: str) -> None:
    why = "it was ended from outside or inside its block, before `tracked_run` was through"
    assert runs[scene].status == "FAILED"
    assert runs[scene].tags["author"]
    assert why in runs[scene].tags["failure"]
    assert why in raised[scene][1]
    assert f"run {runs[scene].id} was ended before its block was through" in played.stderr


def test_one_seed_draws_the_same_numbers_under_another_name(runs, raised) -> None:
    assert runs["draws"].metrics == runs["draws_again"].metrics == runs["in a thread"].metrics
    assert raised["unnamed"] != raised["unnamed, again"]


def test_another_seed_draws_other_numbers(runs: dict[str, RecordedRun]) -> None:
    for name, value in runs["draws from another seed"].metrics.items():
        assert value != runs["draws"].metrics[name]


def test_a_config_with_more_params_than_mlflow_takes_at_once_is_logged_whole(runs: dict[str, RecordedRun]) -> None:
    assert {f"many.p{n}": str(n) for n in range(250)}.items() <= runs["many params"].params.items()


def test_the_longest_values_are_kept_whole(runs: dict[str, RecordedRun]) -> None:
    assert runs["long values"].params["long"] == "x" * 6000
    assert runs["long values"].tags["long"] == "y" * 8000


# --- the exit status, and signals that strike between two steps

ALONE = """
name = sys.argv[1]
def raises_deep_down(run): json.loads("{")
def exits_with_3(run): sys.exit(3)
def is_refused_inside(run): raise Refused([Violation("data", "has no rows", "add some")])
def loses_its_terminal(run): os.kill(os.getpid(), signal.SIGHUP)
def is_terminated_twice(run):
    try: os.kill(os.getpid(), signal.SIGTERM)
    finally: os.kill(os.getpid(), signal.SIGTERM)
with tracked_run(VALUES, run_name=name) as run: globals()[name](run)
"""


@pytest.mark.parametrize(
    ("scene", "status"),
    [
        ("raises_deep_down", 1),
        ("empties_a_tag", 1),
        ("exits_with_3", 3),
        ("is_refused_inside", 1),
        pytest.param("is_terminated_twice", 143, marks=POSIX),
        pytest.param("loses_its_terminal", 129, marks=POSIX),
    ],
)
def test_the_exit_status_tells_how_the_run_ended(workbench: Workbench, scene: str, status: int) -> None:
    workbench.write("scripts/alone.py", "from scenes import *\n" + ALONE)
    store = workbench.path.parent / f"{scene}.db"
    done = workbench.run("python", "scripts/alone.py", scene, env=store_at(store))
    assert done.returncode == status, done.stderr
    (run,) = workbench.runs(store).values()
    assert run.status == "FAILED"
    assert run.tags["failure"] in done.stderr
    if scene == "raises_deep_down":
        assert "JSONDecodeError" in done.stderr
        assert "scripts/alone.py" in done.stderr.replace("\\", "/")


# A real signal, sent when the process enters a function of MLflow or of ours: the moment is exact on any machine.
STRUCK = '''
"""One run, with a signal when a function is entered."""
import os, signal, sys
import mlflow
from reproducibility import tracked_run

struck, number = sys.argv[1], getattr(signal, sys.argv[2])

def strike(frame, event, argument):
    if event == "call" and frame.f_code.co_name == struck:
        sys.setprofile(None)
        os.kill(os.getpid(), number)

sys.setprofile(strike)
with tracked_run({"experiment_name": "x", "seed": 1, "data": {"path": "data/penguins.csv"}}, run_name=struck):
    print("the experiment is running")
print("and after it")
'''


@POSIX
@pytest.mark.parametrize(
    ("moment", "status"),
    [("create_run", "FAILED"), ("log_artifacts", "FAILED"), ("_require_unchanged", "FAILED"), ("end_run", "FINISHED")],
)
@pytest.mark.parametrize(("sent", "exit_status"), [("SIGTERM", 143), ("SIGINT", -2)])
def test_a_signal_at_any_moment_leaves_no_run_running(
    workbench: Workbench, moment: str, status: str, sent: str, exit_status: int
) -> None:
    workbench.write("scripts/struck.py", STRUCK)
    store = workbench.path.parent / f"{moment}_{sent}.db"
    done = workbench.run("python", "scripts/struck.py", moment, sent, env=store_at(store))
    assert done.returncode == exit_status, done.stderr
    assert "and after it" not in done.stdout
    (run,) = workbench.runs(store).values()
    assert run.status == status
    assert (moment in ("create_run", "log_artifacts")) == ("the experiment is running" not in done.stdout)


@POSIX
def test_ctrl_c_stays_ignored_where_the_process_ignores_it(workbench: Workbench) -> None:
    workbench.write(
        "scripts/deaf.py", STRUCK.replace("def strike", "signal.signal(number, signal.SIG_IGN)\n\ndef strike")
    )
    store = workbench.path.parent / "ignored.db"
    done = workbench.run("python", "scripts/deaf.py", "log_artifacts", "SIGINT", env=store_at(store))
    assert done.returncode == 0, done.stderr
    assert [run.status for run in workbench.runs(store).values()] == ["FINISHED"]


# --- the experiments as they come


@pytest.fixture(scope="module")
def sample(workbench: Workbench) -> RecordedRun:
    """The run of the sample experiment, trained by its command on a store of its own."""
    workbench.commit()
    done = workbench.run(
        "python",
        "scripts/train.py",
        "--config",
        "configs/experiment.yaml",
        env=store_at(workbench.path.parent / "sample.db"),
    )
    assert done.returncode == 0, done.stderr
    (run,) = workbench.runs(workbench.path.parent / "sample.db").values()
    return run


def test_the_sample_run_carries_exactly_these_tags(workbench: Workbench, sample: RecordedRun) -> None:
    assert sample.status == "FINISHED"
    ours = {key: value for key, value in sample.tags.items() if not key.startswith("mlflow.")}
    digests = {key: ours.pop(key) for key in list(ours) if key.endswith("_digest") or key == "data_version"}
    who = f"{workbench.git('config', 'user.name')} <{workbench.git('config', 'user.email')}>"
    assert ours == {
        "git_commit": workbench.git("rev-parse", "HEAD"),
        "git_branch": workbench.git("branch", "--show-current"),
        "git_remote": "none",
        "git_dirty": "false",
        "author": who,
        "image": "none",
        "reproducibility.process": ours["reproducibility.process"],
        "reproducibility.token": ours["reproducibility.token"],
    }
    expected = {"data_version", "config_digest", "lock_digest", "manifest_digest", "reproducibility.token_digest"}
    assert set(digests) == expected
    assert all(value.startswith("blake3:") and len(value) == 71 for value in digests.values())
    assert sample.tags["mlflow.source.git.commit"] == ours["git_commit"]
    assert sample.tags["mlflow.user"] == who


def test_the_sample_run_carries_exactly_these_params(sample: RecordedRun) -> None:
    assert set(sample.params) == {
        *("experiment_name", "seed", "data_version", "data.path", "data.test_fraction", "cross_validation_folds"),
        *("model.n_estimators", "model.max_depth", "model.min_samples_leaf"),
    }
    assert sample.params["data_version"] == sample.tags["data_version"]
    assert sample.params["seed"] == "42"


def test_the_sample_run_carries_exactly_this_evidence(workbench: Workbench, sample: RecordedRun) -> None:
    assert {path.name for path in sample.evidence.iterdir()} == {"manifest.json", "config.yaml", "requirements.txt"}
    assert (sample.evidence / "requirements.txt").read_bytes() == (workbench.path / "requirements.txt").read_bytes()
    manifest = json.loads((sample.evidence / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["params"] == sample.params
    assert manifest["tags"].items() <= sample.tags.items()
    assert manifest["entry_point"] == "scripts/train.py"


def test_a_copy_of_the_standard_experiment_runs(workbench: Workbench, sample: RecordedRun) -> None:
    template = (workbench.path / "templates/experiment.py").read_text(encoding="utf-8")
    workbench.write("scripts/baseline.py", template)
    done = workbench.run(
        "python",
        "scripts/baseline.py",
        "--config",
        "configs/experiment.yaml",
        env=store_at(workbench.path.parent / "baseline.db"),
    )
    assert done.returncode == 0, done.stderr
    (run,) = workbench.runs(workbench.path.parent / "baseline.db").values()
    assert run.status == "FINISHED"
    assert run.tags["git_dirty"] == "true"  # the copy is not committed
    assert b"scripts/baseline.py" in (run.evidence / "uncommitted.patch").read_bytes()


# --- the lecture's shape

LECTURE = """
import sys
import mlflow
from PACKAGE.config import ExperimentConfig
from reproducibility import PROJECT_ROOT, load, log_reproducibility_info, tracking_uri, validate_required_tags

with_config = load(PROJECT_ROOT / "configs" / "experiment.yaml", ExperimentConfig)
mlflow.set_tracking_uri(tracking_uri())
mlflow.set_experiment("lecture")

def experiment(name, config, *, log=True, spoil=False):
    try:
        with mlflow.start_run(run_name=name):
            if log:
                log_reproducibility_info(*config)
            if spoil:
                mlflow.set_tag("author", "")
            mlflow.log_metric("accuracy", 1.0)
            validate_required_tags()
    except Exception as error:
        print(name, type(error).__name__, error)

experiment("base", ())
experiment("file", (with_config,))
experiment("values", ({"seed": 3, "data": {"path": "data/penguins.csv"}},))
experiment("no seed", ({"data": {"path": "data/penguins.csv"}},))
experiment("spoiled", (), spoil=True)
experiment("not logged", (), log=False)
for outside in (log_reproducibility_info, validate_required_tags):
    try:
        outside()
    except Exception as error:
        print("outside", type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def lecture(workbench: Workbench) -> CompletedProcess[str]:
    workbench.write("scripts/lecture.py", LECTURE)
    done = workbench.run("python", "scripts/lecture.py", env=store_at(workbench.path.parent / "lecture.db"))
    assert done.returncode == 0, done.stderr
    return done


def test_the_lectures_shape_records_the_same_run(workbench: Workbench, lecture, sample: RecordedRun) -> None:
    runs = workbench.runs(workbench.path.parent / "lecture.db")
    assert {name for name, run in runs.items() if run.status == "FINISHED"} == {"base", "file", "values"}
    assert runs["file"].params == sample.params
    # Who has a run of their own ends it themselves.
    ours = {key for key in sample.tags if not key.startswith(("mlflow.", "completion_"))}
    assert ours <= runs["base"].tags.keys()
    assert ours <= runs["values"].tags.keys()
    assert runs["file"].tags["config_digest"] == sample.tags["config_digest"]
    assert {path.name for path in runs["base"].evidence.iterdir()} >= {"manifest.json", "config.yaml"}


def test_the_lectures_shape_fails_what_lacks_something(workbench: Workbench, lecture) -> None:
    runs = workbench.runs(workbench.path.parent / "lecture.db")
    assert {name for name, run in runs.items() if run.status == "FAILED"} == {"no seed", "spoiled", "not logged"}
    assert "no seed Refused seed: no seed is set" in lecture.stdout
    assert "spoiled MlflowException reproducibility gate: author of run" in lecture.stdout
    assert "not logged RunIncomplete" in lecture.stdout
    assert lecture.stdout.count("outside Refused mlflow.active_run: there is no active run") == 2
