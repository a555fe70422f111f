"""The topics of the platform that Headwater replaces: what a consumer of theirs reads is what web3.py gives of the node's answers
in the form that their program had, in JSON and, with a schema registry, in Avro under their schemas, keys too.

usage: kafka_legacy.py KAFKA_WORKDIR [REGISTRY_WORKDIR]
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from confluent_kafka import Consumer
from web3 import Web3

from appliance import Appliance, Program, configure, free_port, until

servers = pathlib.Path(__file__).resolve().parents[1]
kafka_work, registry_work = sys.argv[1], (sys.argv + [None])[2]
TOPICS = ["mined.block.metadata", "mined.txs.token.transfer", "mined.txs.contract.call", "mined.txs.contract.deploy"]
plain = lambda value: bytes(value).hex()


def block_of(block):
    """A block as their crawler wrote it."""
    return {
        "number": block["number"], "timestamp": block["timestamp"], "hash": plain(block["hash"]), "parentHash": plain(block["parentHash"]),
        "difficulty": block["difficulty"], "totalDifficulty": str(block.get("totalDifficulty")), "nonce": plain(block["nonce"]),
        "size": block["size"], "miner": block["miner"], "baseFeePerGas": block["baseFeePerGas"], "gasLimit": block["gasLimit"],
        "gasUsed": block["gasUsed"], "logsBloom": plain(block["logsBloom"]), "extraData": plain(block["extraData"]),
        "transactionsRoot": plain(block["transactionsRoot"]), "stateRoot": plain(block["stateRoot"]),
        "transactions": [plain(item["hash"]) for item in block["transactions"]],
        "withdrawals": [dict(item) for item in block["withdrawals"]],
    }


def transaction_of(item):
    """A transaction as their crawler wrote it."""
    access = [{"address": entry["address"], "storageKeys": list(entry["storageKeys"])} for entry in item.get("accessList", [])]
    return {
        "blockHash": plain(item["blockHash"]), "blockNumber": item["blockNumber"], "hash": plain(item["hash"]),
        "transactionIndex": item["transactionIndex"], "from": item["from"], "to": item.get("to") or "", "value": str(item["value"]),
        "input": plain(item["input"]), "gas": item["gas"], "gasPrice": item["gasPrice"], "nonce": item["nonce"], "v": item["v"],
        "r": plain(item["r"]), "s": plain(item["s"]), "type": item["type"], "accessList": access,
    }


def kind_of(item):
    if not item.get("to"):
        return TOPICS[3]
    return TOPICS[2] if len(item["input"]) else TOPICS[1]


def read(prefix, decode, decode_key=lambda record: record.key().decode()):
    """Key and value of every record of a topic; later ones of a key win, as for their consumers."""
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:9092", "group.id": f"legacy-{time.time()}", "auto.offset.reset": "earliest"})
    consumer.subscribe([prefix + topic for topic in TOPICS])
    found, quiet = {topic: {} for topic in TOPICS}, 0
    while quiet < 5:
        record = consumer.poll(1)
        if record is None or record.error():
            quiet += 1
            continue
        quiet = 0
        found[record.topic().removeprefix(prefix)][decode_key(record)] = decode(record)
    consumer.close()
    return found


def compare(node, found, head):
    wanted = {topic: {} for topic in TOPICS}
    for number in range(head + 1):
        block = node.eth.get_block(number, True)
        wanted[TOPICS[0]][str(number)] = block_of(block)
        for item in block["transactions"]:
            wanted[kind_of(item)][plain(item["hash"])] = transaction_of(item)
    for topic in TOPICS:
        missing = wanted[topic].keys() - found[topic].keys()
        assert not missing, f"{topic}: {len(missing)} keys are missing"
        for key, value in wanted[topic].items():
            assert found[topic][key] == value, f"{topic} {key}:\n{found[topic][key]}\n{value}"
        print(f"{topic}: {len(wanted[topic])} records as web3.py and their program have them")
    assert all(wanted.values()), "a kind did not occur"


def main():
    subprocess.run(["bash", servers / "kafka/server.sh", "start", kafka_work], check=True, stdout=subprocess.DEVNULL)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-legacy-"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "0s", "--blocks", "60", "--finality", "8")
    run = f"legacy{int(time.time())}."
    sinks = f"""[[exporter]]
name = "json"
kind = "kafka"
brokers = ["127.0.0.1:9092"]
layout = "legacy"
prefix = "{run}json."
"""
    if registry_work:
        subprocess.run(["bash", servers / "schema-registry/server.sh", "start", registry_work], check=True, stdout=subprocess.DEVNULL)
        sinks += f"""[[exporter]]
name = "avro"
kind = "kafka"
brokers = ["127.0.0.1:9092"]
layout = "legacy"
finalized = true
prefix = "{run}avro."
format = "avro"
avro_keys = true
schema_registry = {{ url = "http://127.0.0.1:8081/apis/ccompat/v7", auto_register = true }}
"""
    appliance = Appliance(folder, "--config", configure(folder, url, sinks))
    until("the blocks", lambda: (appliance.head() or [0])[0] >= 59)
    until("the records", lambda: all(view["lag"] < 20 and view["state"] == "running" for view in appliance.get("/v1/exporters")[1]["exporters"]))
    time.sleep(2)
    node = Web3(Web3.HTTPProvider(url))
    compare(node, read(f"{run}json.", lambda record: json.loads(record.value())), 59)
    if registry_work:
        from confluent_kafka.schema_registry import SchemaRegistryClient
        from confluent_kafka.schema_registry.avro import AvroDeserializer
        from confluent_kafka.serialization import MessageField, SerializationContext
        decoder = AvroDeserializer(SchemaRegistryClient({"url": "http://127.0.0.1:8081/apis/ccompat/v7"}))
        decode = lambda record: decoder(record.value(), SerializationContext(record.topic(), MessageField.VALUE))
        decode_key = lambda record: decoder(record.key(), SerializationContext(record.topic(), MessageField.KEY))
        compare(node, read(f"{run}avro.", decode, decode_key), 51)
        subprocess.run(["bash", servers / "schema-registry/server.sh", "stop", registry_work], check=True)
    appliance.terminate()
    subprocess.run(["bash", servers / "kafka/server.sh", "stop", kafka_work], check=True)
    print("OK: kafka legacy")


main()
