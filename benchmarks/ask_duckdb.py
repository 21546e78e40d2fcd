"""Asks DuckDB, on two threads, and prints the one row of the answer as JSON, by column.

python benchmarks/ask_duckdb.py "SELECT count(*) AS ticks FROM 'run.parquet'"
"""

from __future__ import annotations

import json
import sys

import duckdb

if __name__ == "__main__":
    with duckdb.connect(config={"threads": 2}) as connection:
        answer = connection.sql(sys.argv[1])
        names, (row,) = answer.columns, answer.fetchall()
    print(json.dumps(dict(zip(names, row, strict=True))))
