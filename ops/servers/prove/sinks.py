"""All sinks of a machine, each on its real server: how they are taken away and brought back, and what they hold."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import TableServiceClient
from confluent_kafka import Consumer, TopicPartition

from cql import connect, exporter_of, plain
from lake import NAME, manifests, visible

work = pathlib.Path(sys.argv[1])
servers = pathlib.Path(__file__).resolve().parents[1]
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SETTINGS = {"kafka": [], "cassandra": ["SYNC=periodic"], "hdfs": [], "azurite": ["AZURITE_MODE=keyed"]}
NAMES = {"kafka": "kafka", "cassandra": "cql", "hdfs": "lake", "azurite": "tables"}


def server(name, action):
    subprocess.run(["env", *SETTINGS[name], "bash", servers / name / "server.sh", action, work / name], check=True, stdout=subprocess.DEVNULL)


def azurite_pid():
    return int((work / "azurite/azurite.pid").read_text())


def away(name):
    # What the emulator keeps in memory is gone with it: it hangs instead.
    os.kill(azurite_pid(), signal.SIGSTOP) if name == "azurite" else server(name, "kill")


def back(name):
    try:
        os.kill(azurite_pid(), signal.SIGCONT) if name == "azurite" else server(name, "start")
    except (FileNotFoundError, ProcessLookupError):
        server(name, "start")


def kafka_blocks(topic):
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:9092", "group.id": f"all-{time.time()}", "isolation.level": "read_committed",
                         "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    standing, seen = {}, set()
    while True:
        message = consumer.poll(20)
        assert message is not None, topic
        if message.error():
            break
        headers = {name: value.decode() for name, value in message.headers()}
        assert headers["event_id"] not in seen, "an event is there twice"
        seen.add(headers["event_id"])
        row = json.loads(message.value())
        if headers["op"] == "applied":
            standing[row["block_number"]] = row["block_hash"]
        elif standing.get(row["block_number"]) == row["block_hash"]:
            del standing[row["block_number"]]
    consumer.close()
    return standing


def sealed_upto(appliance):
    parts = (appliance.data / "parts/blocks/chain_id=1337").glob("*/*.parquet")
    return max((int(NAME.search(path.name).group(2)) for path in parts), default=-1)


def is_behind(appliance, run, name, view, records):
    """A lake gets what is sealed, the others every record."""
    if view["state"] != "running":
        return True
    if name != "lake":
        return view["lag"] >= records
    try:
        runs = manifests(f"/{run}")
    except OSError:
        return True
    return sealed_upto(appliance) > max((run["blocks"]["last"] for run in runs), default=-1)


def lake_holds(appliance, run):
    runs = manifests(f"/{run}")
    last = runs[-1]["blocks"]["last"]
    numbers = [number for one in runs for number in range(one["blocks"]["first"], one["blocks"]["last"] + 1)]
    assert numbers == list(range(last + 1)) and last == sealed_upto(appliance), "HDFS: holes or doubles"
    files = [file for one in runs for file in one["files"]]
    assert visible(f"/{run}") == {f"/{run}/{file['path']}": file["bytes"] for file in files}, "HDFS: files"
    for table in ["blocks", "transactions", "logs"]:
        ours = appliance.sql(f"select count(*) as n from {table} where block_number <= {last}")[0]["n"]
        assert ours == sum(file["rows"] for file in files if file["table"] == table), f"HDFS: {table}"
    print(f"the lake holds blocks 0 to {last}, all that are sealed, in {len(files)} files")


def converged(appliance, run):
    chain = appliance.hashes()
    assert kafka_blocks(f"{run}.devnet.blocks") == chain, "Kafka"
    session = connect("127.0.0.1")
    rows = session.execute(f"SELECT block_number, block_hash, op FROM {run}.canonical")
    assert {row["block_number"]: plain(row["block_hash"]) for row in rows if row["op"] == "applied"} == chain, "CQL"
    counted = {}
    for row in session.execute(f"SELECT block_hash FROM {run}.transaction_by_hash"):
        counted[plain(row["block_hash"])] = counted.get(plain(row["block_hash"]), 0) + 1
    wanted = {row["h"]: row["n"] for row in appliance.sql("select to_hex0x(block_hash) as h, count(*) as n from transactions group by 1")}
    assert {block: counted.get(block, 0) for block in wanted} == wanted, "CQL: transactions"
    service = TableServiceClient(endpoint="http://127.0.0.1:10002/devstoreaccount1", credential=AzureNamedKeyCredential("devstoreaccount1", KEY))
    rows = service.get_table_client(f"{run}Canonical").list_entities()
    assert {row["block_number"].value: row["block_hash"] for row in rows if row["op"] == "applied"} == chain, "Azure Tables"
    lake_holds(appliance, run)
    print(f"all hold the same {len(chain)} blocks, {sum(wanted.values())} transactions")


def exporters(run):
    """The configuration of all of them, under one name."""
    os.environ["AZURE_TABLES_KEY"] = KEY
    return f"""[[exporter]]
name = "kafka"
kind = "kafka"
brokers = ["127.0.0.1:9092"]
prefix = "{run}."
exactly_once = true
[[exporter]]
name = "cql"
kind = "scylla"
nodes = ["127.0.0.1:9042"]
datacenter = "datacenter1"
keyspace = "{run}"
[[exporter]]
name = "tables"
kind = "azure_tables"
account = "devstoreaccount1"
endpoint = "http://127.0.0.1:10002/devstoreaccount1"
prefix = "{run}"
key = "env:AZURE_TABLES_KEY"
[[exporter]]
name = "lake"
kind = "hdfs"
url = "hdfs://127.0.0.1:9000/{run}"
conf_dir = "{work}/hdfs/conf"
user = "root"
max_wait_secs = 5
takeover_secs = 10
call_timeout_secs = 5
"""


def states(appliance):
    return {name: exporter_of(appliance, name) for name in NAMES.values()}


def behind(appliance, run, records):
    return [name for name, view in states(appliance).items() if is_behind(appliance, run, name, view, records)]


def drain(appliance, run, seconds):
    """Brings all back; for each how many seconds it took from its server's start until it had everything, of what came meanwhile too."""
    up, drained, began = {}, {}, time.monotonic()

    def bring(server_name, name):
        back(server_name)
        up[name] = time.monotonic()

    def bring_all():
        starts = [threading.Thread(target=bring, args=pair, daemon=True) for pair in NAMES.items() if pair[0] != "azurite"]
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        # It goes on at once: before, it would share the cores with three Java programs that start.
        bring("azurite", NAMES["azurite"])

    threading.Thread(target=bring_all, daemon=True).start()
    while len(drained) < len(NAMES) and time.monotonic() < began + seconds:
        for name, view in states(appliance).items():
            if name in up and name not in drained and not is_behind(appliance, run, name, view, 3):
                drained[name] = time.monotonic() - up[name]
        time.sleep(0.1)
    assert len(drained) == len(NAMES), f"not drained: {set(NAMES.values()) - set(drained)}"
    return drained
