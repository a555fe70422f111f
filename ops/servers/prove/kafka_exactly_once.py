"""Exactly once against a real broker: the appliance ends at every step of the protocol and at random moments, the
broker is killed under it, a second node takes its place; then a foreign consumer (confluent-kafka, read_committed)
must see every event id exactly once, in an order that folds to the canonical chain.

usage: kafka_exactly_once.py WORKDIR [KILLS]    (WORKDIR is that of ../kafka/server.sh; 60 kills by default)
SPLIT_BYTES=300 in the environment: rows that are longer go in pieces, and each piece is there once, in order.
REGISTRY=WORKDIR, that of ../schema-registry/server.sh: rows and keys are Avro, read by Confluent's deserializer.
"""
import collections
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from appliance import Appliance, Program, configure, free_port, rpc, until
from topics import BROKER, read_committed

TABLES = ["blocks", "transactions", "logs", "withdrawals", "chain_events", "verification"]
STEPS = ["forward.intent", "kafka.sent", "kafka.delivered", "kafka.committed", "forward.exported"]
servers = pathlib.Path(__file__).resolve().parents[1]
kills = int(sys.argv[2]) if len(sys.argv) > 2 else 60
split_bytes = int(os.environ.get("SPLIT_BYTES", 0))
registry = os.environ.get("REGISTRY")
registry_url = "http://127.0.0.1:8081/apis/ccompat/v7"
seed = int(os.environ.get("SEED", time.time()))
rng = random.Random(seed)


def broker(action):
    subprocess.run(["bash", servers / "kafka/server.sh", action, sys.argv[1]], check=True, stdout=subprocess.DEVNULL)


def decoders(topic):
    """What makes a key and a row of a topic's bytes."""
    if not registry:
        return bytes.decode, json.loads
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext
    avro = AvroDeserializer(SchemaRegistryClient({"url": registry_url}))
    return tuple(lambda data, part=part: avro(data, SerializationContext(topic, part)) for part in (MessageField.KEY, MessageField.VALUE))


def config_of(folder, name, url, prefix):
    more = f"split_bytes = {split_bytes}\n" if split_bytes else ""
    if registry:
        more += f'format = "avro"\navro_keys = true\nschema_registry = {{ url = "{registry_url}", auto_register = true }}\n'
    return configure(folder, url, f"""[[exporter]]
name = "{name}"
kind = "kafka"
brokers = ["{BROKER}"]
prefix = "{prefix}"
exactly_once = true
delivery_timeout_secs = 10
{more}""")


def main():
    print(f"seed {seed}, {kills} kills")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-exactly-"))
    broker("start")
    if registry:
        subprocess.run(["bash", servers / "schema-registry/server.sh", "start", registry], check=True, stdout=subprocess.DEVNULL)
    prefix = f"exactly-{int(time.time())}."
    port = free_port()
    Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "50ms", "--finality", "32",
            "--reorg-every", "9", "--reorg-depth", "6", "--transactions", "10")
    url = f"http://127.0.0.1:{port}"
    config = config_of(folder, "exact", url, prefix)
    places = collections.Counter()
    broker_kills = max(2, kills // 15)
    for kill in range(kills):
        step = rng.choice(STEPS + ["at random", "at random"])
        if kill % (kills // broker_kills) == 1:
            step = "broker"
        os.environ.pop("HEADWATER_ABORT_AT", None)
        if step in STEPS:
            os.environ["HEADWATER_ABORT_AT"] = f"{step}:{rng.randrange(12)}"
        appliance = Appliance(folder, "--config", config)
        os.environ.pop("HEADWATER_ABORT_AT", None)
        if step in STEPS:
            code = appliance.process.wait(120)
            assert code == -6, f"it did not end at {step}, but with {code}: see {appliance.log.name}"
        elif step == "broker":
            exporter = lambda: appliance.get("/v1/exporters")[1]["exporters"][0]
            start = exporter()["exported_lsn"]
            until("some transactions", lambda: exporter()["exported_lsn"] > start + 3)
            time.sleep(rng.random() / 5)
            broker("kill")
            time.sleep(rng.random() * 2)
            if rng.random() < 0.5:
                appliance.kill()
            broker("start")
            if appliance.process.poll() is None:
                until("it to go on", lambda: exporter()["exported_lsn"] > start + 20, 180)
                appliance.kill()
        else:
            time.sleep(0.3 + rng.random() * 1.5)
            appliance.kill()
        places[step] += 1
    print("killed:", dict(places), f"pieces of {split_bytes} bytes" if split_bytes else "")

    appliance = Appliance(folder, "--config", config)
    state = lambda node: node.get("/v1/exporters")[1]["exporters"][0]
    last = int(rpc(url, "eth_blockNumber"), 16)
    until("the last blocks", lambda: state(appliance)["lag"] < 20 and appliance.head()[0] >= last, 180)
    appliance.terminate()
    check(prefix)

    # A node with another log must not take the place of this one: it is told, and the right one goes on.
    appliance = Appliance(folder, "--config", config)
    until("some more", lambda: state(appliance)["lag"] < 20 and appliance.head()[0] > last + 20, 180)
    stranger = Appliance(folder / "stranger", "--config", config_of(folder / "stranger", "exact", url, prefix))
    until("the stranger to be told", lambda: state(stranger)["state"] == "blocked", 120)
    print("a stranger is told:", state(stranger)["reason"])
    assert "another node's log" in state(stranger)["reason"] and state(appliance)["state"] == "running"
    stranger.kill()
    appliance.terminate()

    # A copy of the folder may: the first one sees it, says so, and does not fight.
    shutil.copytree(folder / "data", folder / "copy/data")
    appliance = Appliance(folder, "--config", config)
    until("some more", lambda: state(appliance)["state"] == "running" and state(appliance)["lag"] < 20, 180)
    copy = Appliance(folder / "copy", "--config", config_of(folder / "copy", "exact", url, prefix))
    until("the first to see that it was replaced", lambda: state(appliance)["state"] == "blocked", 120)
    print("the first is told:", state(appliance)["reason"])
    assert "another node took the transactional id" in state(appliance)["reason"]
    until("the copy to go on", lambda: state(copy)["lag"] < 20, 120)
    appliance.kill()
    copy.terminate()
    if registry:
        subprocess.run(["bash", servers / "schema-registry/server.sh", "stop", registry], check=True, stdout=subprocess.DEVNULL)
    print("OK")


def whole(table, records, decode):
    """The rows that the pieces make: one after the other, none missing, none twice."""
    rows, pieces, split = [], [], 0
    for key, headers, value in records:
        at, count = map(int, headers.get("part", "1/1").split("/"))
        same = not pieces or pieces[0][1]["event_id"] == headers["event_id"]
        assert same and at == len(pieces) + 1, f"{table}: piece {at}/{count} after {len(pieces)} of {headers}"
        assert not split_bytes or len(value) <= split_bytes, f"{table}: {len(value)} bytes in one record"
        pieces.append((key, headers, value))
        if at == count:
            split += count > 1
            rows.append((key, headers, b"".join(value for _, _, value in pieces)))
            decode(rows[-1][2])
            pieces = []
    assert not pieces, f"{table}: the last row lacks pieces"
    if split_bytes:
        print(f"{table}: {split} of {len(rows)} rows in pieces")
    return rows


def check(prefix):
    """Every event id is there once; the events of one log fold to what stands."""
    for table in TABLES:
        topic = f"{prefix}devnet.{table}"
        key, decode = decoders(topic)
        records = whole(table, read_committed(topic, key), decode)
        ids = collections.Counter(headers["event_id"] for _, headers, _ in records)
        twice = {event: count for event, count in ids.items() if count > 1}
        assert not twice, f"{table}: {len(twice)} event ids are there more than once: {list(twice.items())[:5]}"
        if table == "chain_events":
            rows = [decode(value) for _, _, value in records]
            lsns = [row["lsn"] for row in rows]
            assert lsns == list(range(1, len(lsns) + 1)), "every record of the log once, in order, none missing"
            print(f"{table}: {len(records)} records, LSN 1 to {lsns[-1]}, {dict(collections.Counter(row['op'] for row in rows))}")
            continue
        rows = {}
        for key, headers, _ in records:
            if headers["op"] == "applied":
                assert key not in rows, f"{table}: {key} was there"
                rows[key] = headers
            else:
                assert rows.pop(key, None), f"{table}: {key} was not there"
        print(f"{table}: {len(records)} records, each once, {len(rows)} rows stand")


if __name__ == "__main__":
    main()
