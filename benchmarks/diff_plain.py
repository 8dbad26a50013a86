"""Read the metrics of runs with Python's own sqlite3, and no more: python diff_plain.py FILE RUN_ID ..."""

import sqlite3
import sys
from contextlib import closing


def main(file: str, *run_ids: str) -> None:
    with closing(sqlite3.connect(file)) as database:
        for run_id in run_ids:
            query = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ?"
            database.execute(query, [run_id]).fetchall()


if __name__ == "__main__":
    main(*sys.argv[1:])
