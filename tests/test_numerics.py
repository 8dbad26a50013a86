"""What numbers depend on beside code and data is recorded, named by `repro diff`, and set again by a reproduction."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest
from reproducibility.digest import canonical, digest
from reproducibility.provenance import numerics
from reproductions import Answer, TinyWorkbench
from workbench import RecordedRun

TOKEN = "ghp_" + "a" * 36


@pytest.fixture(scope="module")
def workbench(
    run_in: Callable[..., CompletedProcess[str]], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> TinyWorkbench:
    workbench = TinyWorkbench.new(run_in, project, tmp_path_factory.mktemp("numerics"))
    workbench.add("sums.py")
    workbench.commit()
    return workbench


def recorded(run: RecordedRun) -> dict[str, Any]:
    return json.loads((run.evidence / "manifest.json").read_text("utf-8"))["numerics"]


def train(workbench: TinyWorkbench, name: str, **options: Any) -> RecordedRun:
    """Record a run of sums.py under *name*."""
    options["env"] = {"RUN_NAME": name} | options.get("env", {})
    done = workbench.run("python", "scripts/sums.py", "--config", "configs/tiny.yaml", **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return workbench.runs()[name]


def in_numerics(answer: Answer) -> list[tuple[str, str | None, str | None]]:
    return [
        (each["name"], each["a"], each["b"])
        for each in answer.report["input_differences"]
        if each["kind"] == "numerics"
    ]


# --- the record


def test_a_run_records_what_its_numbers_depend_on(workbench: TinyWorkbench) -> None:
    env = {
        "OMP_NUM_THREADS": "2",
        "MKL_CBWR": "AVX2",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_TOOL_LIBRARIES": "x",
        "FOO": "1",
    }
    run = train(workbench, "recorded", env=env)
    found = recorded(run)
    assert found["variables"] == {"OMP_NUM_THREADS": "2", "MKL_CBWR": "AVX2", "CUDA_VISIBLE_DEVICES": ""}
    assert found["torch"] is None
    if hasattr(os, "sched_getaffinity"):
        assert found["processors"] == len(os.sched_getaffinity(0))
    # What an earlier run of the process loaded and set makes no difference.
    assert recorded(workbench.runs()["recorded again"]) == found


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (TOKEN, "OMP_PLACES: the variable looks like a GitHub token"),
        ("1" * 3000, "OMP_PLACES: the variable has 3000 characters, more than the 2000 that are recorded"),
        ("\udcff", "OMP_PLACES: the variable has bytes that are not UTF-8"),
    ],
    ids=["a secret", "too long", "not UTF-8"],
)
def test_a_value_that_cannot_be_recorded_is_refused(workbench: TinyWorkbench, value: str, words: str) -> None:
    before = len(workbench.every_run())
    env = {"OMP_PLACES": value}
    done = workbench.run("python", "scripts/tiny.py", "--config", "configs/tiny.yaml", env=env, fresh=True)
    assert (done.returncode, len(workbench.every_run())) == (2, before)
    assert words in " ".join(done.stderr.split())
    assert TOKEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_processors_that_openmp_hides_are_unknown(workbench: TinyWorkbench) -> None:
    """With OMP_PROC_BIND the main thread has one processor left when the library is loaded; the others still work."""
    assert recorded(train(workbench, "bound", env={"OMP_PROC_BIND": "true"}))["processors"] is None
    assert recorded(train(workbench, "free", env={"OMP_PROC_BIND": "FALSE"}))["processors"] is not None


@pytest.mark.parametrize(
    ("groups", "files", "quotas"),
    [
        ("0::/", {"cpu.max": "max 100000\n"}, []),
        ("0::/", {"cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/team/job", {"team/job/cpu.max": "300000 100000\n", "team/cpu.max": "200000 100000\n"}, [3.0, 2.0]),
        ("0::/of/the/host", {"cpu.max": "50000 100000\n"}, [0.5]),
        ("4:memory:/job\n2:cpu,cpuacct:/job", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "1"}, []),
        ("3:cpuset:/\n1:cpu:/", {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, [2.5]),
        ("0::/", {}, []),
    ],
)
def test_the_quotas_of_control_groups_of_both_versions(
    tmp_path: Path, groups: str, files: dict[str, str], quotas: list[float]
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "cgroup").write_text(groups)
    assert list(numerics._quotas(tmp_path / "cgroup", tmp_path)) == quotas


class Mixed:
    """As torch from 2.9 on when both names of a setting were used: the old name cannot be read."""

    fp32_precision = "tf32"

    @property
    def allow_tf32(self) -> bool:
        raise RuntimeError("mix of the legacy and new APIs")


def test_the_settings_of_torch_have_the_name_that_this_torch_can_read() -> None:
    old = SimpleNamespace(deterministic=True, allow_tf32=False)
    for matmul, name, value in (
        (Mixed(), "fp32_precision", "tf32"),
        (SimpleNamespace(allow_tf32=True), "allow_tf32", True),
    ):
        backends = SimpleNamespace(cudnn=old, cuda=SimpleNamespace(matmul=matmul))
        torch = SimpleNamespace(backends=backends, get_num_threads=lambda: 4, get_num_interop_threads=lambda: 2)
        assert numerics._torch_settings(torch) == {
            "num_threads": 4,
            "num_interop_threads": 2,
            "cudnn.deterministic": True,
            f"cuda.matmul.{name}": value,
            "cudnn.allow_tf32": False,
        }


# --- the reproduction


def test_the_variables_of_the_run_are_set_again(workbench: TinyWorkbench) -> None:
    """The sum of one thread and that of two differ in the last bits, where OpenBLAS adds."""
    run = train(workbench, "one thread", env={"OPENBLAS_NUM_THREADS": "1"})
    reproduction = workbench.identical(run.id, env={"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"})
    assert recorded(reproduction) == recorded(run)
    assert reproduction.metrics == run.metrics


def test_a_variable_that_the_run_did_not_have_is_taken_away(workbench: TinyWorkbench) -> None:
    run = train(workbench, "no variable")
    reproduction = workbench.identical(run.id, env={"OPENBLAS_NUM_THREADS": "1", "MKL_DYNAMIC": "FALSE"})
    assert recorded(reproduction)["variables"] == {}


def test_a_device_of_another_machine_is_named_and_not_asked_for(workbench: TinyWorkbench) -> None:
    run = train(workbench, "a device", env={"CUDA_VISIBLE_DEVICES": "7"})
    answer = workbench.reproduce(run.id, env={"CUDA_VISIBLE_DEVICES": "0"})
    assert (answer.status, in_numerics(answer)) == (0, [("CUDA_VISIBLE_DEVICES", "7", "0")])
    note = workbench.by_id(run.id).tags["reproduced_note"]
    assert "CUDA_VISIBLE_DEVICES: 7 and 0" in note


@pytest.fixture
def one_processor() -> dict[str, Any]:
    """The options with which a command may use one of this machine's processors."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two processors, of which a process can be given one")
    return {"preexec_fn": partial(os.sched_setaffinity, 0, {min(os.sched_getaffinity(0))})}


def test_a_reproduction_has_no_more_processors_than_the_run(
    workbench: TinyWorkbench, one_processor: dict[str, Any]
) -> None:
    run = train(workbench, "one processor", **one_processor)
    answer = workbench.reproduce(run.id)
    assert (answer.status, answer.report["verdict"], in_numerics(answer)) == (0, "identical", [])
    assert recorded(workbench.by_id(answer.report["reproduction"]))["processors"] == recorded(run)["processors"] == 1


def test_a_machine_with_too_few_processors_is_named_in_one_line(
    workbench: TinyWorkbench, one_processor: dict[str, Any]
) -> None:
    run = train(workbench, "all processors")
    processors = recorded(run)["processors"]
    done = workbench.run("repro", "reproduce", run.id, **one_processor, env={"COLUMNS": "200"})
    said = f"Processors: run {processors}, reproduction 1. Sums are split among them"
    assert [line for line in done.stdout.splitlines() if line.startswith(said)], done.stdout + done.stderr
    assert f"processors: {processors} and 1" in workbench.by_id(run.id).tags["reproduced_note"]


def sealed(workbench: TinyWorkbench, run: RecordedRun, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of *run* as if it had been recorded so."""
    path = run.evidence / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), "utf-8")
    with closing(sqlite3.connect(workbench.store, isolation_level=None)) as database:
        set_tag = "UPDATE tags SET value = ? WHERE key = 'manifest_digest' AND run_uuid = ?"
        assert database.execute(set_tag, (digest(canonical(manifest)), run.id)).rowcount == 1


def test_a_run_from_before_they_were_recorded_is_reproduced_as_before(workbench: TinyWorkbench) -> None:
    run = train(workbench, "old")
    sealed(workbench, run, lambda manifest: manifest.pop("numerics"))
    answer = workbench.reproduce(run.id, env={"NUMEXPR_NUM_THREADS": "3"})
    assert (answer.status, answer.report["verdict"], in_numerics(answer)) == (0, "identical", [])
    assert recorded(workbench.by_id(answer.report["reproduction"]))["variables"] == {"NUMEXPR_NUM_THREADS": "3"}


@pytest.mark.parametrize(
    "numerics",
    ["x", {}, {"processors": 0, "variables": {}}, {"processors": 1, "variables": {"OMP_NUM_THREADS": "1\0"}}],
    ids=["no section", "empty", "no processor", "a zero byte"],
)
def test_a_section_that_no_run_writes_is_refused(workbench: TinyWorkbench, numerics: Any) -> None:
    name = f"hostile {numerics}"
    workbench.train(name)
    found = {"cpu_quota": None, "torch": None} | numerics if numerics and numerics != "x" else numerics
    sealed(workbench, workbench.runs()[name], lambda manifest: manifest.update(numerics=found))
    assert "manifest.json is not a manifest: numerics" in workbench.refused(workbench.runs()[name].id)


def test_only_variables_that_steer_numbers_are_set(workbench: TinyWorkbench) -> None:
    run_id = workbench.train("hostile variables")
    sealed(
        workbench,
        workbench.by_id(run_id),
        lambda manifest: manifest["numerics"].update(variables={"PATH": "/nowhere", "PYTHONHOME": "/nowhere"}),
    )
    assert workbench.reproduce(run_id).status == 0
