"""Against a real broker: a run with reorgs, the broker killed and back, the appliance killed and back; then a
foreign consumer (confluent-kafka) must see every canonical block of every table, at least once, none missing.

usage: kafka.py WORKDIR    (WORKDIR is that of ../kafka/server.sh)
"""
import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from confluent_kafka import Consumer, TopicPartition

from appliance import Appliance, Program, configure, free_port, rpc, until

TABLES = ["blocks", "transactions", "logs", "withdrawals", "chain_events"]
BROKER = "127.0.0.1:9092"
servers = pathlib.Path(__file__).resolve().parents[1]


def broker(action):
    subprocess.run(["bash", servers / "kafka/server.sh", action, sys.argv[1]], check=True, stdout=subprocess.DEVNULL)


def read_topic(topic):
    """Every record of a topic: key, headers, row."""
    consumer = Consumer({"bootstrap.servers": BROKER, "group.id": f"proof-{time.time()}", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    records = []
    for partition in partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        consumer.assign([TopicPartition(topic, partition, low)])
        position = low
        while position < high:
            message = consumer.poll(20)
            assert message is not None and not message.error(), f"{topic}: {message and message.error()}"
            position = message.offset() + 1
            headers = {name: value.decode() for name, value in message.headers()}
            records.append((message.key().decode(), headers, json.loads(message.value())))
    consumer.close()
    return records


def fold(table, records):
    """The rows as a sink has them that applies and takes back what it is told, retries dropped."""
    seen, rows = {}, collections.defaultdict(dict)
    for key, headers, row in records:
        before = seen.setdefault(headers["event_id"], row)
        assert before == row, f"{table}: a retry is not identical"
        if before is not row:
            continue
        assert row["op"] == headers["op"] and row["lsn"] == int(headers["lsn"]), f"{table}: headers differ from the row"
        if headers["op"] == "applied":
            assert key not in rows[row["block_number"]], f"{table}: {key} was there"
            rows[row["block_number"]][key] = row
        else:
            assert rows[row["block_number"]].pop(key, None), f"{table}: {key} was not there"
    return rows, len(records) - len(seen)


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-kafka-"))
    broker("start")
    prefix = f"proof-{int(time.time())}."
    port = free_port()
    node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "100ms", "--finality", "16",
                   "--reorg-every", "7", "--reorg-depth", "5", "--transactions", "20")
    url = f"http://127.0.0.1:{port}"
    config = configure(folder, url, f"""[[exporter]]
name = "kafka"
kind = "kafka"
brokers = ["{BROKER}"]
prefix = "{prefix}"
delivery_timeout_secs = 5
""", part_blocks=20)
    appliance = Appliance(folder, "--config", config)
    exporter = lambda: appliance.get("/v1/exporters")[1]["exporters"][0]
    until("some exported blocks", lambda: appliance.head() and appliance.head()[0] > 60 and exporter()["exported_lsn"] > 60)

    broker("kill")
    head = appliance.head()[0]
    until("a retry", lambda: exporter()["state"] == "retrying")
    until("the head to go on without the broker", lambda: appliance.head()[0] > head + 60)
    status, body = appliance.get("/readyz")
    assert status == 200 and body["degraded"], "a dead sink is degraded, not unready"
    away = exporter()
    print(f"broker away: head {head} -> {appliance.head()[0]}, exporter {away['state']}, {away['lag']} behind")
    appliance.kill()
    appliance = Appliance(folder, "--config", config)
    broker("start")
    started = time.monotonic()
    until("the exporter to catch up", lambda: exporter()["lag"] < 20, 180)
    print(f"caught up {time.monotonic() - started:.1f} s after the broker was back")
    until("more blocks", lambda: appliance.head()[0] > head + 150)
    # The chain stands still from here, so that all can be compared.
    last = int(rpc(url, "eth_blockNumber"), 16)
    node.kill()
    until("the exporter", lambda: exporter()["lag"] == 0, 180)
    chain = appliance.hashes()
    assert set(chain) == set(range(len(chain))) and len(chain) >= last - 5, "every number is in SQL"

    for table in TABLES:
        records = read_topic(f"{prefix}devnet.{table}")
        if table == "chain_events":
            ops = collections.Counter(headers["op"] for _, headers, _ in records)
            assert all(ops[op] for op in ["applied", "reverted", "finalized"]), ops
            print(f"{table}: {dict(ops)}")
            continue
        rows, twice = fold(table, records)
        expected = appliance.sql(f"select block_number as n, count(*) as c from {table} group by 1")
        assert {row["n"]: row["c"] for row in expected} == {n: len(keys) for n, keys in rows.items() if keys}, table
        if table == "blocks":
            seen = {number: key for number, keys in rows.items() for key in keys}
            assert seen == chain, "the consumer's chain is not the canonical one"
        print(f"{table}: {len(records)} records, {twice} of them again, {sum(map(len, rows.values()))} canonical rows: all there")
    reverted = appliance.sql("select count(*) as n from chain_events where op = 'reverted'")[0]["n"]
    appliance.terminate()
    print(f"OK: {len(chain)} canonical blocks, {reverted} reverted, the broker and the appliance killed once each")


main()
