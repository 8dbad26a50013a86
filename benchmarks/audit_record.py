"""Write copies of a recorded run, each with a config and evidence of its own: python audit_record.py DATABASE RUN COUNT

As if so many runs had been recorded, which would take hours. The lock and the patch are the same files for all of them.
"""

import json
import os
import sqlite3
import sys
import uuid
from contextlib import closing
from pathlib import Path
from urllib.request import url2pathname

import yaml
from reproducibility.config.values import config_digest
from reproducibility.config.yaml import parse_yaml
from reproducibility.digest import canonical, digest

KNOB = "knob_7"


def main(database: str, run_id: str, count: int) -> None:
    with closing(sqlite3.connect(database)) as store:
        run, tags, params = (_rows(store, table, run_id) for table in ("runs", "tags", "params"))
        folder = Path(url2pathname(run[0]["artifact_uri"].removeprefix("file://")))
        evidence = folder / "reproducibility"
        config = parse_yaml((evidence / "config.yaml").read_text("utf-8"), "config.yaml")[0]
        manifest = json.loads((evidence / "manifest.json").read_bytes())
        others = {file.name for file in evidence.iterdir()} - {"manifest.json", "config.yaml"}
        for number in range(count):
            other = uuid.uuid4().hex
            config["knobs"][KNOB] = 1000 + number
            manifest["params"][f"knobs.{KNOB}"] = str(1000 + number)
            manifest["tags"]["config_digest"] = config_digest(config)
            changed = {
                f"knobs.{KNOB}": str(1000 + number),
                "config_digest": config_digest(config),
                "manifest_digest": digest(canonical(manifest)),
                "artifact_uri": run[0]["artifact_uri"].replace(run_id, other),
            }
            own = Path(str(folder).replace(run_id, other), "reproducibility")
            own.mkdir(parents=True)
            (own / "manifest.json").write_bytes(canonical(manifest))
            (own / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
            for name in others:
                os.link(evidence / name, own / name)
            _insert(store, "runs", [{**run[0], "artifact_uri": changed["artifact_uri"]}], other)
            for table, rows in (("tags", tags), ("params", params)):
                _insert(store, table, [{**row, "value": changed.get(row["key"], row["value"])} for row in rows], other)
        store.commit()


def _rows(store: sqlite3.Connection, table: str, run_id: str) -> list[dict[str, object]]:
    select = "SELECT * FROM {} WHERE run_uuid = ?"
    found = store.execute(select.format(table), [run_id])
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _insert(store: sqlite3.Connection, table: str, rows: list[dict[str, object]], run_id: str) -> None:
    names = list(rows[0])
    values = [[run_id if name == "run_uuid" else row[name] for name in names] for row in rows]
    insert = "INSERT INTO {} ({}) VALUES ({})"
    store.executemany(insert.format(table, ", ".join(names), ", ".join("?" * len(names))), values)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
