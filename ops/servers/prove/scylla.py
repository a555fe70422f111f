"""Against a real CQL server (one Cassandra node): a run with reorgs; the appliance ends at every step of the protocol and
by kill -9, the server is killed and comes back; then a foreign driver must see in every table what our SQL says.

usage: scylla.py WORKDIR [ENDS] [SEED]    (WORKDIR is that of ../cassandra/server.sh)
"""
import collections
import os
import pathlib
import random
import sys
import tempfile
import time

from appliance import Appliance, Program, configure, free_port, rpc, until
from cql import cassandra, check, connect, exporter_of

STEPS = ["forward.intent", "scylla.sent", "scylla.noted", "forward.exported"]


def main():
    work, ends = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else int(time.time())
    rng = random.Random(seed)
    print(f"seed {seed}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-scylla-"))
    cassandra("start", work)
    keyspace = f"proof_{int(time.time())}"
    port = free_port()
    node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "100ms", "--finality", "16",
                   "--reorg-every", "7", "--reorg-depth", "5", "--transactions", "20")
    url = f"http://127.0.0.1:{port}"
    exporter = f"""[[exporter]]
name = "cql"
kind = "scylla"
nodes = ["127.0.0.1:9042"]
datacenter = "datacenter1"
keyspace = "{keyspace}"
usage_keyspace = "{keyspace}_usage"
"""
    config = configure(folder, url, exporter)
    places = collections.Counter()
    for turn in range(ends):
        step = rng.choice([*STEPS, "kill", "kill", "server"])
        if step in STEPS:
            os.environ["HEADWATER_ABORT_AT"] = f"{step}:{rng.randrange(8)}"
        appliance = Appliance(folder, "--config", config)
        os.environ.pop("HEADWATER_ABORT_AT", None)
        state = lambda: exporter_of(appliance, "cql")
        if step in STEPS:
            code = appliance.process.wait(120)
            assert code == -6, f"it did not end at {step}, but with {code}: see {appliance.log.name}"
        elif step == "server":
            start = until("a cursor", lambda: state()["exported_lsn"])
            cassandra("kill", work)
            until("a retry", lambda: state()["state"] == "retrying")
            head = appliance.head()[0]
            until("the head to go on without the server", lambda: appliance.head()[0] > head + 20)
            status, body = appliance.get("/readyz")
            assert status == 200 and body["degraded"], "a dead sink is degraded, not unready"
            if rng.random() < 0.5:
                appliance.kill()
                appliance = Appliance(folder, "--config", config)
            cassandra("start", work)
            began = time.monotonic()
            until("it to catch up", lambda: state()["exported_lsn"] > start and state()["lag"] < 20, 180)
            print(f"caught up {time.monotonic() - began:.1f} s after the server was back")
            appliance.kill()
        else:
            time.sleep(0.3 + rng.random() * 2)
            appliance.kill()
        places[step] += 1
    print("ended:", dict(places))

    appliance = Appliance(folder, "--config", config)
    state = lambda: exporter_of(appliance, "cql")
    until("some more", lambda: state()["lag"] < 20 and appliance.head()[0] > 100, 180)
    # The chain stands still from here, so that all can be compared.
    last = int(rpc(url, "eth_blockNumber"), 16)
    node.kill()
    until("the last blocks", lambda: state()["lag"] == 0 and appliance.head()[0] >= last - 5, 180)
    time.sleep(1)
    session = connect("127.0.0.1")
    forked = check(session, appliance, keyspace)
    final = list(session.execute(f"SELECT * FROM {keyspace}.finalized"))
    assert final and final[0]["block_number"] > 0, "what is final is told"
    ttl = f"SELECT block_hash, TTL(transaction_count) AS ttl FROM {keyspace}.block_by_hash"
    expiring = sum(1 for row in session.execute(ttl) if row["ttl"])
    reverted = appliance.sql("select count(distinct block_hash) as n from chain_events where op = 'reverted'")[0]["n"]
    assert 0 < expiring <= reverted, f"{expiring} blocks expire, {reverted} were taken back"
    used = until("what keys were used for", lambda: list(session.execute(f"SELECT * FROM {keyspace}_usage.api_keys_node_providers")), 60)
    assert used and used[0]["num_req_1d"] > 0 and used[0]["start"] < used[0]["end"], used
    print("usage:", used[0])

    # Tables that are lost are filled anew from the log, without a word of anybody.
    session.execute(f"DROP KEYSPACE {keyspace}", timeout=60)
    appliance.terminate()
    appliance = Appliance(folder, "--config", config)
    until("all of it again", lambda: state()["state"] == "running" and state()["lag"] == 0, 180)
    time.sleep(1)
    check(session, appliance, keyspace)

    # A node with another log is told.
    stranger_node = Program(folder, "devnet2", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "100ms",
                            "--transactions", "3")
    until("the other chain", lambda: rpc_or_none(url))
    stranger = Appliance(folder / "stranger", "--config", configure(folder / "stranger", url, exporter))
    until("the stranger to be told", lambda: exporter_of(stranger, "cql")["state"] == "blocked", 120)
    print("a stranger is told:", exporter_of(stranger, "cql")["reason"])
    assert "another node's log" in exporter_of(stranger, "cql")["reason"]
    stranger.kill()
    stranger_node.kill()
    appliance.kill()
    print(f"OK: {forked} rows of forks hidden by `canonical`")


def rpc_or_none(url):
    try:
        return int(rpc(url, "eth_blockNumber"), 16) > 5
    except OSError:
        return None


if __name__ == "__main__":
    main()
