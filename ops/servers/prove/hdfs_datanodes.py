"""HDFS with three DataNodes and two copies of each file: one DataNode at a time is killed, or hangs, while the appliance fills
a lake. The others are enough: files go on becoming visible while it is away, whole and once; in the end each has two copies.

usage: hdfs_datanodes.py HDFS_WORKDIR [ROUNDS]    (a WORKDIR of its own; HDFS_LIB for the installation of another)
"""
import pathlib
import sys
import tempfile
import time

from appliance import Appliance, Program, configure, free_port, until
from lake import NAME, Cluster, Watch, manifests, state

work, ROUNDS = sys.argv[1], int((sys.argv + ["2"])[2])
STALL_MAX = 60
NODES = ["dn1", "dn2", "dn3"]
hdfs = Cluster(work, DATANODES=3)


def goes_on(appliance, seconds):
    """Watches for some time; the longest that nothing new became visible."""
    last, moved, longest, moves = state(appliance)["exported_lsn"], time.monotonic(), 0.0, 0
    end = moved + seconds
    while time.monotonic() < end or moves == 0:
        time.sleep(0.1)
        now, held = time.monotonic(), state(appliance)["exported_lsn"]
        longest = max(longest, now - moved)
        if held > last:
            last, moved, moves = held, now, moves + 1
        assert longest < STALL_MAX, f"nothing for {longest:.0f} s: {state(appliance)['reason']}"
    return longest, moves


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-hdfs-"))
    hdfs("start")
    lake, port = f"/proof-{int(time.time())}", free_port()
    node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "100ms", "--finality", "16",
                   "--transactions", "4", "--timestamp-step", "900")
    config = configure(folder, f"http://127.0.0.1:{port}", f"""[[exporter]]
name = "lake"
kind = "hdfs"
url = "hdfs://127.0.0.1:9000{lake}"
conf_dir = "{work}/conf"
user = "headwater"
max_wait_secs = 1
call_timeout_secs = 3
replication = 2
""", part_blocks=20)
    hdfs("cli", "-mkdir", "-p", lake)
    hdfs("cli", "-chown", "headwater", lake)
    watch = Watch(lake)
    watch.start()
    appliance = Appliance(folder, "--config", config)
    until("a first file", lambda: watch.read, 120)
    longest, moves = goes_on(appliance, 10)
    print(f"all there: {moves} runs, at most {longest:.1f} s apart", flush=True)
    for _ in range(ROUNDS):
        for name in NODES:
            for how in ["kill", "pause"]:
                hdfs(how, name)
                longest, moves = goes_on(appliance, 25)
                hdfs("start" if how == "kill" else "resume", name)
                print(f"{how} {name}: {moves} runs meanwhile, at most {longest:.1f} s apart; {len(watch.read)} files", flush=True)
                assert watch.wrong is None, watch.wrong
                goes_on(appliance, 5)
    node.kill()

    def holds_what_is_sealed():
        parts = (appliance.data / "parts/blocks/chain_id=1337").glob("*/*.parquet")
        last = max(int(NAME.search(path.name).group(2)) for path in parts)
        runs = manifests(lake)
        return runs and runs[-1]["blocks"]["last"] >= last and state(appliance)["state"] == "running"
    until("everything", holds_what_is_sealed, 240)
    watch.ended = True
    watch.join()
    watch.look()
    assert watch.wrong is None, watch.wrong
    runs = manifests(lake)
    last = runs[-1]["blocks"]["last"]
    covered = [number for run in runs for number in range(run["blocks"]["first"], run["blocks"]["last"] + 1)]
    assert covered == list(range(0, last + 1)), "the manifest has holes or doubles"
    for table in ["blocks", "transactions", "logs"]:
        ours = appliance.sql(f"select count(*) as n from {table} where block_number <= {last}")[0]["n"]
        theirs = sum(file["rows"] for run in runs for file in run["files"] if file["table"] == table)
        assert ours == theirs, f"{table}: {ours} rows in SQL, {theirs} in the manifest"

    def is_healthy():
        told = hdfs("java", "org.apache.hadoop.hdfs.tools.DFSck", lake, check=False)
        lines = dict(line.strip().split(":", 1) for line in told.splitlines() if ":" in line)
        copies = lines.get("Under-replicated blocks", "?").split()[0]
        return "Status: HEALTHY" in told and copies == "0" and lines
    facts = until("two copies of every block", is_healthy, 300)
    print(f"blocks 0 to {last} in {len(watch.read)} files; HDFS: {facts['Total blocks (validated)'].strip()} blocks, "
          f"average copies {facts['Average block replication'].strip()}")
    appliance.terminate()
    hdfs("stop")
    print("OK: hdfs_datanodes")


main()
