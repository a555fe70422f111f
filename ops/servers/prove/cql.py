"""What a foreign driver (DataStax's, protocol 5) sees in the tables, against the appliance's own SQL."""
import datetime
import json
import pathlib
import subprocess
import time

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import dict_factory
from cassandra.util import Date

CHAIN = 1337
server = pathlib.Path(__file__).resolve().parents[1] / "cassandra/server.sh"


def cassandra(action, work, *arguments, **settings):
    """A command of ../cassandra/server.sh."""
    words = ["env", *(f"{key}={value}" for key, value in settings.items()), "bash", server, action, work, *map(str, arguments)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def connect(*addresses, port=9042, **more):
    # As the rows were written: a single busy node may lack what the two others hold.
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy(addresses), row_factory=dict_factory, request_timeout=60,
                               consistency_level=ConsistencyLevel.LOCAL_QUORUM)
    end = time.monotonic() + 120
    while True:
        try:
            cluster = Cluster(addresses, port=port, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5, **more)
            return cluster.connect()
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(1)


def exporter_of(appliance, name):
    """An exporter's view."""
    return next(view for view in appliance.get("/v1/exporters")[1]["exporters"] if view["name"] == name)


def plain(value):
    """A value of CQL as our SQL writes it in JSON."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, datetime.datetime):
        return value.isoformat() + "Z"
    if isinstance(value, Date):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def same(ours, theirs):
    if isinstance(ours, str) and isinstance(theirs, int) and not isinstance(theirs, bool):
        return int(ours) == theirs  # 256-bit numbers are text in JSON
    if isinstance(ours, (list, dict)) and isinstance(theirs, str):
        return ours == json.loads(theirs)
    return ours == theirs


def compare(what, ours, theirs, key, without=("lsn",)):
    """Every row of ours is there with the same columns, and no other."""
    index = {tuple(plain(row[name]) for name in key): row for row in theirs}
    assert len(index) == len(theirs), f"{what}: a key is there twice"
    assert len(ours) == len(index), f"{what}: {len(ours)} rows in SQL, {len(index)} in CQL"
    columns = 0
    for row in ours:
        other = index[tuple(row[name] for name in key)]
        for name, value in row.items():
            if name in other and name not in without:
                assert same(value, plain(other[name])), f"{what}: {name} is {value} in SQL, {other[name]} in CQL"
                columns += 1
    print(f"{what}: {len(ours)} rows, {columns} values equal")


def check(session, appliance, keyspace):
    """All tables of a chain that stands still."""
    rows = lambda words: list(session.execute(words.replace("@", keyspace + ".")))
    standing = {row["block_number"]: plain(row["block_hash"]) for row in rows("SELECT * FROM @canonical") if row["op"] == "applied"}
    chain = appliance.hashes()
    assert standing == chain, f"canonical has {len(standing)} blocks, SQL {len(chain)}"
    hashes = set(chain.values())
    canonical = lambda found: [row for row in found if plain(row["block_hash"]) in hashes]
    forked = 0

    blocks = appliance.sql("select * from blocks")
    for table in ["blocks_by_number", "block_by_hash"]:
        found = rows(f"SELECT * FROM @{table}")
        forked += len(found) - len(blocks)
        compare(table, blocks, canonical(found), ["block_hash"])
    last = max(chain)
    page = rows(f"SELECT block_number FROM @blocks_by_number WHERE chain_id = {CHAIN} AND bucket = {last // 10_000} LIMIT 5")
    assert page[0]["block_number"] == last, "the newest block comes first"

    transactions = appliance.sql("select * from transactions")
    compare("transaction_by_hash", transactions, canonical(rows("SELECT * FROM @transaction_by_hash")), ["block_hash", "transaction_hash"])
    compare("transactions_by_block", transactions, canonical(rows("SELECT * FROM @transactions_by_block")), ["block_hash", "transaction_index"])
    logs = appliance.sql("select * from logs")
    withdrawals = appliance.sql("select * from withdrawals")
    by_address(session, keyspace, "transactions_by_address", "transaction_dates_by_address", transactions,
               ["from_address", "to_address", "receipt_contract_address"], ["block_hash", "transaction_index"], canonical)
    by_address(session, keyspace, "logs_by_address", "log_dates_by_address", logs, ["address"], ["block_hash", "log_index"], canonical)
    compare("withdrawals_by_address", withdrawals, canonical(rows("SELECT * FROM @withdrawals_by_address")), ["block_hash", "withdrawal_index"])
    return forked


def by_address(session, keyspace, table, dates, ours, parties, key, canonical):
    """As a reader asks: the dates of an address, then each date, the newest first."""
    wanted = {}
    for row in ours:
        for address in {row[name] for name in parties if row[name]}:
            wanted.setdefault(address, []).append(row)
    days = session.prepare(f"SELECT date FROM {keyspace}.{dates} WHERE chain_id = {CHAIN} AND address = ?")
    one = session.prepare(f"SELECT * FROM {keyspace}.{table} WHERE chain_id = {CHAIN} AND address = ? AND date = ?")
    total = 0
    for address, rows in wanted.items():
        found = []
        for day in session.execute(days, [bytes.fromhex(address[2:])]):
            found += list(session.execute(one, [bytes.fromhex(address[2:]), day["date"]]))
        index = {tuple(plain(row[name]) for name in key): row for row in canonical(found)}
        assert len(index) == len(rows), f"{table} of {address}: {len(rows)} rows in SQL, {len(index)} in CQL"
        for row in rows:
            other = index[tuple(row[name] for name in key)]
            for name, value in row.items():
                if name in other and not (name == "topic0" and value is None):
                    assert same(value, plain(other[name])), f"{table}: {name} is {value} in SQL, {other[name]} in CQL"
        total += len(rows)
    print(f"{table}: {len(wanted)} addresses, {total} rows")
