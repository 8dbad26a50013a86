"""Print what a database of MLflow holds, as {run id: {...}}: python read_runs.py ADDRESS"""

import json
import sys

from sqlalchemy import create_engine, text

QUERY = """
SELECT run_uuid, name, status, artifact_uri,
    (SELECT count(*) FROM params WHERE params.run_uuid = runs.run_uuid) AS params,
    (SELECT count(*) FROM metrics WHERE metrics.run_uuid = runs.run_uuid) AS points,
    (SELECT value FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = 'failure') AS failure
FROM runs
"""
with create_engine(sys.argv[1]).connect() as connection:
    rows = [dict(row) for row in connection.execute(text(QUERY)).mappings()]
print(json.dumps({row.pop("run_uuid"): row for row in rows}))
