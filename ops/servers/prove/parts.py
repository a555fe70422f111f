"""Foreign readers: DuckDB and pyarrow read the parts without help, Hive partitions recognised; row counts and a hash
of all columns equal the answer of our own SQL.

usage: parts.py
"""
import io
import pathlib
import subprocess
import tempfile

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.ipc

from appliance import PROGRAM, Program, free_port, rpc, until

ORDER = {
    "blocks": "block_number",
    "transactions": "block_number, transaction_index",
    "logs": "block_number, log_index",
    "withdrawals": "block_number, withdrawal_index",
    "traces": "block_number, trace_index",
    "chain_events": "lsn",
    "verification": "block_number",
}
BLOCKS = 250


def digest(connection, relation, columns, order):
    """Row count, and a hash over every value of every column in order."""
    row = " || '|' || ".join(f"coalesce(({name})::varchar, 'null')" for name in columns)
    return connection.sql(f"select count(*), md5(string_agg(md5({row}), '' order by {order})) from {relation}").fetchall()[0]


folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-parts-"))
port = free_port()
url = f"http://127.0.0.1:{port}"
node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "0s", "--blocks", BLOCKS + 32)


def is_mined():
    try:
        return rpc(url, "eth_blockNumber")
    except OSError:
        return None


until("the devnet", is_mined)
data = folder / "data"
subprocess.run([PROGRAM, "backfill", f"0:{BLOCKS}", "--rpc", url, "--traces", "--data-dir", data], check=True)
node.kill()
connection = duckdb.connect()
connection.sql("set timezone = 'UTC'")
for table, order in ORDER.items():
    answer = subprocess.run([PROGRAM, "sql", "--format", "arrow", "--data-dir", data, f"select * from {table} order by {order}"],
                            check=True, stdout=subprocess.PIPE).stdout
    ours = pa.ipc.open_stream(io.BytesIO(answer)).read_all()
    columns = [f'"{name}"' for name in ours.column_names]
    parts = f"read_parquet('{data}/parts/{table}/**/*.parquet', hive_partitioning = true)"
    named = connection.sql(f"describe select * from {parts}").fetchall()
    assert {"chain_id", "date"} <= {name for name, *_ in named}, "Hive partitions"
    connection.register("ours", ours)
    theirs, mine = digest(connection, parts, columns, order), digest(connection, "ours", columns, order)
    assert theirs == mine, f"{table}: DuckDB over the parts {theirs}, our SQL {mine}"
    read = ds.dataset(data / "parts" / table, format="parquet", partitioning="hive").to_table()
    assert read.num_rows == ours.num_rows and read.column("chain_id").unique().to_pylist() == [1337]
    same = [name for name in ours.column_names if name not in ("chain_id", "date")]
    keys = [(key.strip(), "ascending") for key in order.split(",")]
    assert read.select(same).sort_by(keys).cast(ours.select(same).schema).equals(ours.select(same)), f"{table}: pyarrow"
    print(f"{table}: {mine[0]} rows, {len(columns)} columns, md5 {mine[1]}: DuckDB, pyarrow and our SQL agree")
print("OK: parts")
