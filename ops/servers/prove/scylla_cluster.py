"""Servers that sync their commit logs every 10 s, as most do, and so lose what they acknowledged when they are killed: one
node killed again and again, then three nodes of which one, two and all are killed. After it every row must be there.

usage: scylla_cluster.py WORKDIR [KILLS]    (in WORKDIR the folders of ../cassandra/server.sh are made)
"""
import pathlib
import random
import sys
import tempfile
import time

from appliance import Appliance, Program, configure, free_port, rpc, until
from cql import cassandra, check, connect, exporter_of


class Run:
    """A chain, an appliance and an exporter to some nodes."""

    def __init__(self, name, nodes, port):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"headwater-{name}-"))
        self.keyspace = f"{name}_{int(time.time())}"
        listen = free_port()
        self.rpc = f"http://127.0.0.1:{listen}"
        self.node = Program(self.folder, "devnet", "devnet", "--listen", f"127.0.0.1:{listen}", "--block-time", "100ms", "--finality", "16",
                            "--reorg-every", "7", "--reorg-depth", "5", "--transactions", "5")
        contact = ", ".join(f'"{node}:{port}"' for node in nodes)
        self.config = configure(self.folder, self.rpc, f"""[[exporter]]
name = "cql"
kind = "scylla"
nodes = [{contact}]
datacenter = "datacenter1"
keyspace = "{self.keyspace}"
""")
        self.appliance = Appliance(self.folder, "--config", self.config)

    def state(self):
        return exporter_of(self.appliance, "cql")

    def goes_on(self, what, seconds=180):
        began, start = time.monotonic(), self.appliance.head()[0]
        until(what, lambda: self.appliance.head()[0] > start + 10 and self.state()["state"] == "running" and self.state()["lag"] < 20, seconds)
        return time.monotonic() - began

    def finish(self, address, port):
        last = int(rpc(self.rpc, "eth_blockNumber"), 16)
        self.node.kill()
        until("the last blocks", lambda: self.state()["lag"] == 0 and self.appliance.head()[0] >= last - 5, 180)
        time.sleep(1)
        check(connect(address, port=port), self.appliance, self.keyspace)
        self.appliance.terminate()


def one_node(work, kills):
    cassandra("start", work, CQL_PORT=9060, SYNC="periodic")
    run = Run("periodic", ["127.0.0.1"], 9060)
    until("a cursor", lambda: run.appliance.head() and run.state()["exported_lsn"] > 50)
    for turn in range(kills):
        time.sleep(2 + random.random() * 6)
        before = run.state()["exported_lsn"]
        cassandra("kill", work)
        if turn % 3 == 2:
            run.appliance.kill()
            run.appliance = Appliance(run.folder, "--config", run.config)
        cassandra("start", work)
        seconds = run.goes_on("it to catch up")
        text = pathlib.Path(run.appliance.log.name).read_text()
        print(f"killed at record {before}: caught up in {seconds:.1f} s, {text.count('the sink knows where it is')} times asked where it is")
    run.finish("127.0.0.1", 9060)
    cassandra("stop", work)
    print(f"one node: OK after {kills} kills")


def three_nodes(work):
    cassandra("start", work, NODES=3, CQL_PORT=9070, SYNC="periodic")
    run = Run("three", ["127.0.0.1", "127.0.0.2", "127.0.0.3"], 9070)
    until("a cursor", lambda: run.appliance.head() and run.state()["exported_lsn"] > 50, 240)
    cassandra("kill", work, 3)
    seen, start = set(), run.state()["exported_lsn"]
    end = time.monotonic() + 20
    while time.monotonic() < end:
        seen.add(run.state()["state"])
        time.sleep(0.2)
    went_on = run.state()["exported_lsn"] - start
    print(f"one of three killed: {went_on} records exported in 20 s, states {seen}")
    assert went_on > 100, "LOCAL_QUORUM goes on"
    cassandra("kill", work, 2)
    until("a retry", lambda: run.state()["state"] == "retrying", 90)
    head = run.appliance.head()[0]
    until("the head to go on", lambda: run.appliance.head()[0] > head + 50)
    print("two of three killed:", run.state()["reason"])
    cassandra("start", work, 2)
    print(f"one of them back: caught up in {run.goes_on('it to catch up'):.1f} s")
    cassandra("start", work, 3)
    time.sleep(5)
    cassandra("kill", work)
    cassandra("start", work)
    print(f"all killed and back: caught up in {run.goes_on('it to catch up', 240):.1f} s")
    run.finish("127.0.0.1", 9070)
    cassandra("stop", work)
    print("three nodes: OK")


def main():
    work = pathlib.Path(sys.argv[1])
    one_node(work / "one", int(sys.argv[2]) if len(sys.argv) > 2 else 6)
    three_nodes(work / "three")


main()
