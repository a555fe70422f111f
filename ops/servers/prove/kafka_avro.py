"""Avro against a real broker and a real schema registry: what Confluent's own deserializer reads equals, column for
column, what the JSON topics of the same run hold. An incompatible schema, a missing one, a wrong password and a registry
that is away are each told apart; a registry that goes away later changes nothing.

usage: kafka_avro.py WORKDIR REGISTRY_WORKDIR
"""
import base64
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from appliance import Appliance, Program, configure, free_port, rpc, until
from topics import BROKER, read_committed

TABLES = ["blocks", "transactions", "logs", "withdrawals", "chain_events", "verification"]
servers = pathlib.Path(__file__).resolve().parents[1]
registry_url = "http://127.0.0.1:8081/apis/ccompat/v7"
password = lambda: (pathlib.Path(sys.argv[2]) / "password").read_text().strip()


def server(name, action, workdir, **env):
    subprocess.run(["bash", servers / name / "server.sh", action, workdir], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, **env})


def ask(method, path, body=None):
    request = urllib.request.Request(registry_url + path, body and json.dumps(body).encode(), method=method,
                                     headers={"content-type": "application/vnd.schemaregistry.v1+json"})
    request.add_header("authorization", "Basic " + base64.b64encode(f"headwater:{password()}".encode()).decode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def read_all(topic):
    """Key, headers and value by event id."""
    return {headers["event_id"]: (key, headers, value) for key, headers, value in read_committed(topic)}


def plain(value, kind, is_uint256=False):
    """An Avro value in the JSON form of the README, guided by its schema: bytes as 0x hex, numbers of 256 bits, which the
    field says, as decimal text, UTC times."""
    if isinstance(kind, list):
        return None if value is None else plain(value, next(one for one in kind if one != "null"), is_uint256)
    if isinstance(value, bytes):
        return str(int.from_bytes(value, "big")) if is_uint256 else "0x" + value.hex()
    if isinstance(value, datetime.datetime):
        text = value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        return text + (f".{value.microsecond:06}" if value.microsecond else "") + "Z"
    if isinstance(value, dict):
        return {field["name"]: plain(value[field["name"]], field["type"], field.get("headwater.type") == "uint256")
                for field in kind["fields"]}
    if isinstance(value, list):
        return [plain(inner, kind["items"]) for inner in value]
    return value


def main():
    server("kafka", "start", sys.argv[1])
    server("schema-registry", "install", sys.argv[2])
    server("schema-registry", "start", sys.argv[2], REGISTRY_AUTH="true")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-avro-"))
    run = f"avro-{int(time.time())}"
    port = free_port()
    node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "100ms", "--finality", "16",
                   "--reorg-every", "9", "--reorg-depth", "4", "--transactions", "20")
    url = f"http://127.0.0.1:{port}"
    os.environ["REGISTRY_PASSWORD"] = password()
    os.environ["REGISTRY_WRONG"] = "not it"
    # Somebody else's schema lies under this subject.
    ask("POST", f"/subjects/{run}.taken.devnet.blocks-value/versions",
        {"schema": json.dumps({"type": "record", "name": "blocks", "namespace": "headwater",
                               "fields": [{"name": "block_number", "type": "string"}]})})
    ask("PUT", f"/config/{run}.taken.devnet.blocks-value", {"compatibility": "BACKWARD"})

    def exporter(name, keys):
        return (f'[[exporter]]\nname = "{name}"\nkind = "kafka"\nbrokers = ["{BROKER}"]\nprefix = "{run}.{name}."\n'
                f'delivery_timeout_secs = 10\n{keys}\n')

    def registry(more="auto_register = true", secret="REGISTRY_PASSWORD", at=registry_url):
        more = ", " + more if more else ""
        return (f'format = "avro"\nschema_registry = {{ url = "{at}", user = "headwater", '
                f'password = "env:{secret}"{more} }}')

    config = configure(folder, url, exporter("json", "exactly_once = true") + exporter("avro", "exactly_once = true\n" + registry())
        + exporter("plain", registry()) + exporter("taken", registry()) + exporter("strict", registry(""))
        + exporter("wrong", registry(secret="REGISTRY_WRONG"))
        + exporter("away", registry(at="http://127.0.0.1:1/none")))
    appliance = Appliance(folder, "--config", config)
    views = lambda: {view["name"]: view for view in appliance.get("/v1/exporters")[1]["exporters"]}
    until("all to have looked", lambda: all(view["state"] != "starting" for view in views().values()))
    until("some blocks", lambda: all(views()[name]["exported_lsn"] > 40 for name in ["json", "avro", "plain"]))
    for name, state, words in [("taken", "blocked", "(409)"), ("strict", "blocked", "auto_register = true"),
                               ("wrong", "blocked", "401"), ("away", "retrying", "not available")]:
        view = views()[name]
        assert view["state"] == state and words in view["reason"], view
        assert "not it" not in view["reason"] and password() not in view["reason"], "no secret is told"
        print(f"{name}: {state}: {view['reason'][:230]}")

    # The registry goes away: what is known stays known.
    server("schema-registry", "kill", sys.argv[2])
    before = views()["avro"]["exported_lsn"]
    until("Avro to go on without the registry", lambda: views()["avro"]["exported_lsn"] > before + 60)
    server("schema-registry", "start", sys.argv[2], REGISTRY_AUTH="true")
    last = int(rpc(url, "eth_blockNumber"), 16)
    until("the last blocks", lambda: appliance.head()[0] >= last)
    node.kill()
    until("the exporters", lambda: all(views()[name]["lag"] == 0 for name in ["json", "avro", "plain"]), 180)
    appliance.terminate()
    for key in ["REGISTRY_PASSWORD", "REGISTRY_WRONG"]:
        assert os.environ[key].encode() not in (folder / "headwater.log").read_bytes(), "a secret is in the log"

    client = SchemaRegistryClient({"url": registry_url, "basic.auth.user.info": f"headwater:{password()}"})
    deserialize = AvroDeserializer(client)
    for table in TABLES:
        expected = read_all(f"{run}.json.devnet.{table}")
        for name in ["avro", "plain"]:
            topic = f"{run}.{name}.devnet.{table}"
            found = read_all(topic)
            schema = json.loads(client.get_latest_version(f"{topic}-value").schema.schema_str)
            assert set(found) == set(expected), f"{topic}: other rows"
            for event, (key, headers, value) in found.items():
                row = plain(deserialize(value, SerializationContext(topic, MessageField.VALUE)), schema)
                assert (key, headers) == expected[event][:2], event
                assert row == json.loads(expected[event][2]), f"{event}:\n{row}\n{json.loads(expected[event][2])}"
        sizes = [sum(len(value) for _, _, value in read_all(f"{run}.{name}.devnet.{table}").values()) for name in ["avro", "json"]]
        print(f"{table}: {len(expected)} rows, Avro equals JSON; {sizes[0]} bytes against {sizes[1]}")
    # Apache Kafka's own Connect: every committed record becomes a line of its file.
    server("schema-registry", "stop", sys.argv[2])
    server("schema-registry", "start", sys.argv[2])
    lines = pathlib.Path(sys.argv[1]) / "connect.out"
    for form, name in [([], "json"), (["avro"], "avro")]:
        lines.unlink(missing_ok=True)
        topic = f"{run}.{name}.devnet.transactions"
        expected = read_all(topic)
        subprocess.run(["bash", servers / "kafka/server.sh", "start-connect", sys.argv[1], topic, *form], check=True,
                       stdout=subprocess.DEVNULL)
        written = lambda: lines.read_text().count("\n") if lines.exists() else 0
        until("the file sink", lambda: written() >= len(expected))
        time.sleep(2)
        subprocess.run(["bash", servers / "kafka/server.sh", "stop-connect", sys.argv[1]], check=True, stdout=subprocess.DEVNULL)
        text = lines.read_text()
        assert written() == len(expected), f"{written()} lines of {len(expected)} records"
        assert ('"transaction_hash":"0x' if name == "json" else "Struct{") in text, text[:300]
        print(f"Connect's file sink, {name}: {written()} lines of {len(expected)} records")
    server("schema-registry", "stop", sys.argv[2])
    print("OK")


main()
