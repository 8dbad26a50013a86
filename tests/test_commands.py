"""What a person sees of a command in unusual surroundings: one message, and a status that means it."""

import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from conftest import code_of
from preloaded import Preloaded
from reproducibility.garbage import unsearched
from workbench import INSIDE, SCRIPTS, Workbench

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locale C and keeps a folder that is in use")

# Python then reads and writes ASCII only, as in an old container or a bare cron job.
ASCII = {"LC_ALL": "C", "LANG": None, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None}
ENCODINGS = {
    "locale": ASCII,
    "ascii": {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    "latin-1": {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
}
AUTHOR = {"AUTHOR": "Jörg Müller"}
CHECKS = {"validate": ("last",), "audit": (), "diff": ("last", "last"), "checklist": ()}


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workbench:
    """A project with one finished run, whose author, config and message of a failure need more than ASCII."""
    folder = tmp_path_factory.mktemp("commands")
    workbench = Workbench(run_in, Path(shutil.copytree(project, folder / project.name)))
    workbench.add("attempt.py", "click_command.py")
    workbench.commit()
    train = ("python", "scripts/attempt.py", "--config", "configs/experiment.yaml", "--set", "experiment_name=größe")
    done = workbench.run(*train, env=ASCII | AUTHOR, fresh=True)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stdout + done.stderr
    assert INSIDE in done.stdout
    return workbench


@POSIX
def test_names_outside_ascii_are_recorded_as_they_are(workbench: Workbench) -> None:
    (run,) = workbench.every_run()
    assert run.tags["author"] == run.tags["mlflow.user"] == "Jörg Müller"
    assert run.params["experiment_name"] == "größe"


@POSIX
def test_an_author_whom_git_names_is_recorded_too(workbench: Workbench, tmp_path: Path) -> None:
    copy = Workbench(workbench._run_in, Path(shutil.copytree(workbench.path, tmp_path / "copy", symlinks=True)))
    copy.git("config", "user.name", "Zoë Ångström")
    done = copy.run("python", "scripts/click_command.py", env=ASCII, fresh=True)
    assert done.returncode == 0, done.stderr
    assert copy.runs()["run"].tags["author"].startswith("Zoë Ångström <")


@pytest.fixture(scope="module", params=ENCODINGS)
def encoded(
    request: pytest.FixtureRequest, python: Path, clean_env: dict[str, str]
) -> Iterator[tuple[Preloaded, dict[str, str | None]]]:
    """A Python that was started in another encoding, and the variables which say so."""
    variables = ENCODINGS[request.param]
    env = {name: value for name, value in (clean_env | variables).items() if value is not None}
    process = Preloaded(python, env)
    yield process, variables
    process.close()


@POSIX
@pytest.mark.parametrize("command", CHECKS)
def test_output_that_the_encoding_lacks_is_escaped(
    workbench: Workbench, command: str, encoded: tuple[Preloaded, dict[str, str | None]]
) -> None:
    process, variables = encoded
    usual = workbench.run("repro", command, *CHECKS[command], env=AUTHOR)
    options = {"env": AUTHOR | variables, "fork_of": process, "encoding": "latin-1"}
    done = workbench.run("repro", command, *CHECKS[command], **options)
    assert done.returncode == usual.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout


@POSIX
def test_data_whose_name_the_encoding_lacks_is_refused(workbench: Workbench) -> None:
    workbench.write("data/größe.csv", "1\n")
    workbench.write("configs/umlaut.yaml", "extends: experiment.yaml\ndata:\n  path: data/größe.csv\n")
    train = ("python", "scripts/attempt.py", "--config", "configs/umlaut.yaml")
    done = workbench.run(*train, env=ASCII, fresh=True)
    assert (done.returncode, INSIDE in done.stdout, "Traceback" in done.stderr) == (2, False, False), done.stderr
    assert "cannot be a file's name in the encoding of this shell" in done.stderr
    assert "PYTHONUTF8=1" in done.stderr


@pytest.mark.parametrize("command", CHECKS)
def test_an_error_that_nobody_foresaw_is_one_line_and_status_2(
    workbench: Workbench, command: str, tmp_path: Path
) -> None:
    """A damaged installation: a library is there, and what is used of it is not."""
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").touch()
    env = {"PYTHONPATH": f"{tmp_path}:{code_of(workbench.path)}"}
    done = workbench.run("repro", command, *CHECKS[command], env=env, fresh=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: repro: it met an error that it does not know (")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(
        "To fix it: run it again with REPRODUCIBILITY_TRACEBACK=1, which shows where it happened\n"
    )
    shown = workbench.run("repro", command, *CHECKS[command], env=env | {"REPRODUCIBILITY_TRACEBACK": "1"}, fresh=True)
    assert shown.returncode == 2
    assert shown.stderr.startswith("Traceback (most recent call last):")
    assert shown.stderr.endswith(done.stderr)


def test_a_command_alone_means_what_is_usual(workbench: Workbench) -> None:
    """`repro` says what to do first, and each of these lines is a command."""
    commands = {
        "alone": (),
        "validate": ("validate",),
        "validate last": ("validate", "last"),
        "train": ("train", "--set", "seed=oops"),
        "mistyped": ("valdate",),
        "unlike any": ("zzz",),
    }
    done = workbench.repro_each(commands, env=AUTHOR)
    first = [line.split("   ")[0] for line in done["alone"].stdout.splitlines()]
    assert (done["alone"].returncode, len(first)) == (0, 5)
    help_of_each = {line: (*line.split()[1:2], "--help")[-2:] for line in first[:-1]}
    assert {each.returncode for each in workbench.repro_each(help_of_each).values()} == {0}
    assert done["validate"].returncode == 0
    assert done["validate"].stdout == done["validate last"].stdout
    assert (done["train"].returncode, "--set seed=oops: " in done["train"].stderr) == (2, True), done["train"].stderr
    assert done["mistyped"].returncode == done["unlike any"].returncode == 2
    assert "No such command 'valdate'. Did you mean 'validate'?" in done["mistyped"].stderr
    assert "Did you mean" not in done["unlike any"].stderr


def test_an_error_in_the_user_s_own_script_keeps_its_traceback(workbench: Workbench) -> None:
    """The training failed, and that is status 1."""
    workbench.edit("scripts/train.py", "from reproducibility", "1 / 0\nfrom reproducibility")
    try:
        done = workbench.run("repro", "train", "configs/experiment.yaml", fresh=True)
    finally:
        workbench.git("checkout", "--quiet", "scripts/train.py")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr and "scripts/train.py" in done.stderr


# What is registered first runs last, when the process ends.
SEES_THE_END = """
import atexit, gc, runpy, sys, weakref

class Cycle: pass

gc.disable()
cycle = Cycle()
cycle.itself, seen = cycle, weakref.ref(cycle)
del cycle
atexit.register(lambda: print("collected:", seen() is None, "kept:", gc.get_freeze_count() > 0))
"""


@pytest.mark.parametrize(
    "run",
    [
        "sys.argv = ['x', '--config', 'gone.yaml']; runpy.run_path('scripts/attempt.py', run_name='__main__')",
        "from reproducibility.cli import main; main(['--help'])",
    ],
    ids=["experiment", "repro"],
)
def test_garbage_is_collected_once_when_the_process_ends(workbench: Workbench, run: str) -> None:
    done = workbench.run("python", "-c", SEES_THE_END + run, fresh=True)
    assert done.stdout.endswith("collected: True kept: True\n"), done.stdout + done.stderr


def test_the_search_for_garbage_goes_on_after_a_block_without_it() -> None:
    with unsearched():
        with unsearched():
            assert not gc.isenabled()
        assert not gc.isenabled()
    with pytest.raises(KeyError), unsearched():
        raise KeyError
    assert gc.isenabled()


@POSIX
@pytest.mark.parametrize("command", ["validate", "audit", "diff", "checklist", "train", "script", "code"])
def test_a_working_directory_that_was_removed(workbench: Workbench, command: str, tmp_path: Path) -> None:
    """A shell is there before its folder goes, so a shell removes the folder under the command."""
    gone = tmp_path / "gone"
    gone.mkdir()
    config = str(workbench.path / "configs" / "experiment.yaml")
    argv = {
        "train": ("repro", "train", config),
        "script": ("python", str(workbench.path / "scripts" / "attempt.py"), "--config", config),
        "code": ("python", str(workbench.path / "scripts" / "click_command.py")),
    }.get(command, ("repro", command, *CHECKS.get(command, ())))
    before = len(workbench.every_run())
    shell = ("sh", str(SCRIPTS / "without_a_folder.sh"), str(gone), *argv)
    done = workbench.run(*shell, cwd=gone, fresh=True)
    assert done.returncode == 2, done.stdout + done.stderr
    expected = "working directory: the folder that this shell works in was removed. To fix it: cd to one that exists"
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert len(workbench.every_run()) == before
