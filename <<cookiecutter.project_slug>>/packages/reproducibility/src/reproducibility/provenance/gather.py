"""The provenance of a run: everything that its reproduction needs, gathered from the project root before it starts."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ..config.loader import Config
from ..config.values import config_digest, flatten
from ..config.yaml import to_yaml
from ..digest import canonical, digest
from ..display import as_utf8
from ..errors import Refused, Violation, refuse
from ..evidence import CONFIG, MANIFEST, MANIFEST_SCHEMA, PATCH
from ..git.settings import Settings
from ..git.state import GitState
from ..lockfile import LOCK
from ..policy import Policy
from ..project import PROJECT_ROOT, team_policy
from ..tags import MLFLOW_TAGS
from .code import author_in_git, code_state, inside_image
from .data import DataVersion, current_data
from .environment import Environment, environment
from .numerics import Numerics, numerics
from .seeding import Seeding, plan
from .start import Start, entry_point, start
from .template import Template, template

_CI_ACTORS = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_REQUESTEDFOR", "CIRCLE_USERNAME")

# Each part of a provenance, and the tags and params that come from it.
_PARTS = {
    "git": ("git_commit", "git_branch", "git_remote", "git_dirty"),
    "data": ("data_version",),
    "author": ("author",),
    "environment": ("lock_digest", "image"),
    "seeding": ("seed",),
}

T = TypeVar("T")


@dataclass(frozen=True)
class Provenance:
    """Where a run comes from, as of its start. A part that is None could not be obtained: `refusals` says why."""

    values: Mapping[str, Any]
    config_files: tuple[str, ...]
    overrides: tuple[str, ...]
    policy: Policy
    git: GitState | None
    data: DataVersion | None
    author: str | None
    environment: Environment | None
    numerics: Numerics | None
    seeding: Seeding | None
    entry_point: str | None
    start: Start
    template: Template | None
    refusals: tuple[Violation, ...]

    @property
    def unknown(self) -> set[str]:
        """The tags and params that are missing because their part could not be obtained."""
        return {name for part, names in _PARTS.items() if getattr(self, part) is None for name in names}

    @cached_property
    def _facts(self) -> dict[str, str]:
        """The tags that the manifest holds: all but the manifest's own digest."""
        facts = {"config_digest": config_digest(self.values)}
        if self.git:
            facts |= {
                "git_commit": self.git.commit,
                "git_branch": self.git.branch,
                "git_remote": self.git.remote,
                "git_dirty": "true" if self.git.dirty else "false",
            }
        if self.data:
            facts["data_version"] = self.data.version
        if self.author:
            facts["author"] = self.author
        if self.environment:
            facts |= {"lock_digest": self.environment.lock_digest, "image": self.environment.image}
        return facts

    @cached_property
    def tags(self) -> dict[str, str]:
        """The tags of a run, and MLflow's own tags with the same values."""
        tags = {**self._facts, "manifest_digest": digest(canonical(self.manifest))}
        return tags | {theirs: tags[ours] for theirs, ours in MLFLOW_TAGS.items() if ours in tags}

    @cached_property
    def params(self) -> dict[str, str]:
        """Every leaf of the resolved config under its dotted name, plus ``data_version`` and ``seed``."""
        params = flatten(self.values)
        if self.data:
            params["data_version"] = self.data.version
        if self.seeding:
            params["seed"] = str(self.seeding.seed)
        return params

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The evidence as plain data. Its digest is the tag ``manifest_digest``, which shows every later edit."""
        manifest = {
            "schema": MANIFEST_SCHEMA,
            "tags": self._facts,
            "params": self.params,
            "patch_digest": digest(self.git.patch) if self.git and self.git.dirty else None,
            "data_files": [file._asdict() for file in self.data.files] if self.data else None,
            "environment": self.environment.described() if self.environment else None,
            "numerics": asdict(self.numerics) if self.numerics else None,
            "seeding": asdict(self.seeding) if self.seeding else None,
            "config_files": self.config_files,
            "overrides": self.overrides,
            "policy": self.policy.model_dump(mode="json"),
            "entry_point": self.entry_point,
            "start": asdict(self.start),
            "template": self.template.described() if self.template else None,
        }
        return json.loads(canonical(manifest))  # tuples become lists, as in the manifest that is read back

    @cached_property
    def evidence(self) -> dict[str, bytes]:
        """The files kept with the run in its folder ``reproducibility/``: {name: content}."""
        evidence = {
            MANIFEST: json.dumps(self.manifest, indent=2, sort_keys=True, ensure_ascii=False).encode(
                "utf-8", "surrogateescape"
            ),
            CONFIG: to_yaml(self.values).encode("utf-8", "surrogateescape"),
            LOCK: self.environment.lock if self.environment else b"",
        }
        if self.git and self.git.dirty:
            evidence[PATCH] = self.git.patch
        return evidence


def gather(config: Config | Mapping[str, Any]) -> Provenance:
    """Collect the provenance of a run of *config* as it is now; nothing is kept from an earlier run.

    Every part is gathered even if another one fails: `refusals` of the result has every violation. Only a policy that
    cannot be read raises Refused, because no run can be judged without a policy.
    """
    policy = team_policy()
    refusals: list[Violation] = []

    def attempt(step: Callable[[], T]) -> T | None:
        try:
            return step()
        except Refused as refused:
            refusals.extend(refused.violations)
            return None

    settings = Settings(PROJECT_ROOT)
    values = _plain(config.model_dump(mode="json") if isinstance(config, Config) else dict(config))
    return Provenance(
        values=values,
        config_files=_in_the_project(config.source.files) if isinstance(config, Config) else (),
        overrides=config.source.overrides if isinstance(config, Config) else (),
        policy=policy,
        git=attempt(lambda: code_state(PROJECT_ROOT, settings)),
        data=attempt(lambda: current_data(values, policy.data_not_versioned)),
        author=attempt(lambda: _author(settings)),
        environment=attempt(lambda: environment(PROJECT_ROOT)),
        numerics=attempt(numerics),
        seeding=attempt(lambda: plan(values.get("seed"))),
        entry_point=entry_point(),
        start=start(),
        template=_template(),
        refusals=tuple(refusals),  # last: the calls of `attempt` above fill the list
    )


def _template() -> Template | None:
    """Return the template of the project; None if the project notes none, as one that joined without a template."""
    try:
        return template(PROJECT_ROOT)
    except Refused:
        return None


def _in_the_project(files: Iterable[Path]) -> tuple[str, ...]:
    """Return *files* as posix paths, relative to the project root where they lie in it."""
    root = PROJECT_ROOT
    return tuple((file.relative_to(root) if file.is_relative_to(root) else file).as_posix() for file in files)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return *values* as they read back from JSON, with NumPy's numbers as Python's; as they are if JSON cannot."""
    try:
        return json.loads(canonical(values))
    except (TypeError, ValueError):
        return values


def author() -> str:
    """Return who runs: AUTHOR in the environment, else git's identity, else whoever the CI system acts for."""
    return _author(Settings(PROJECT_ROOT))


def _author(settings: Settings) -> str:
    if (named := os.environ.get("AUTHOR")) is not None:
        if not named.strip():
            refuse("author", "AUTHOR is set but empty", "unset it, or set it to your name")
        return as_utf8(named).strip()
    from_ci = (os.environ[name] for name in _CI_ACTORS if os.environ.get(name))
    named = author_in_git(PROJECT_ROOT, settings) or next(from_ci, None)
    if named is None:
        fix = 'git config user.name "Your Name" and git config user.email you@example.com, or set AUTHOR'
        if inside_image(PROJECT_ROOT):
            fix = 'give the container your name: -e AUTHOR="Your Name <you@example.com>"'
        refuse("author", "nobody is named as the author of this run", fix)
    return as_utf8(named)
