"""HDFS, read by Hadoop's own shell, by WebHDFS and pyarrow, and by Spark: a run with reorgs while the appliance ends at every
step and by kill -9, and NameNode and DataNode are killed and hang. At any moment every visible file is whole and no block is
there twice; in the end the lake holds what our SQL says, each file's checksum is the one that HDFS itself computes, and Spark
prunes partitions and finds the same counts and sums.

usage: hdfs.py HDFS_WORKDIR SPARK_WORKDIR [ENDS] [SEED]        HDFS_HA=1 and HDFS_KERBEROS=1 as for the server
"""
import collections
import io
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import pyarrow.parquet as pq

from appliance import Appliance, Program, configure, free_port, until

servers = pathlib.Path(__file__).resolve().parents[1]
work, spark_work = sys.argv[1:3]
ENDS, SEED = int((sys.argv + ["20"])[3]), int((sys.argv + ["20", "1"])[4])
STEPS = ["forward.intent", "hdfs.begun", "hdfs.put", "hdfs.placed", "hdfs.renamed", "hdfs.committed", "forward.exported"]
WEB = "http://127.0.0.1:9870/webhdfs/v1"
TABLES = ["blocks", "transactions", "logs", "withdrawals", "chain_events", "verification"]
NAME = re.compile(r"-(\d{12})-(\d{12})\.parquet$")
HA, KERBEROS = os.environ.get("HDFS_HA"), os.environ.get("HDFS_KERBEROS")


def hdfs(action, *arguments, capture=False):
    done = subprocess.run(["bash", servers / "hdfs/server.sh", action, work, *arguments], check=True, text=True,
                          stdout=subprocess.PIPE if capture else subprocess.DEVNULL, stderr=subprocess.PIPE)
    return done.stdout


def web(path, op, **more):
    query = "&".join(["user.name=reader", *(f"{key}={value}" for key, value in more.items())])
    with urllib.request.urlopen(f"{WEB}{path}?op={op}&{query}", timeout=20) as answer:
        return answer.read()


def entries(path):
    try:
        return json.loads(web(path, "LISTSTATUS"))["FileStatuses"]["FileStatus"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return []
        raise


def visible(lake):
    """Every file that a reader of a table sees: path and length."""
    files = {}
    for table in TABLES:
        for chain in entries(f"{lake}/{table}"):
            for date in entries(f"{lake}/{table}/{chain['pathSuffix']}"):
                folder = f"{lake}/{table}/{chain['pathSuffix']}/{date['pathSuffix']}"
                for entry in entries(folder):
                    if entry["pathSuffix"][0] not in "._":
                        files[f"{folder}/{entry['pathSuffix']}"] = entry["length"]
    return files


class Watch(threading.Thread):
    """Reads the lake as a stranger would, again and again: what is there is whole, and is there once."""

    def __init__(self, lake):
        super().__init__(daemon=True)
        self.lake, self.read, self.looks, self.wrong, self.ended = lake, {}, 0, None, False

    def look(self):
        seen = collections.defaultdict(set)
        for path, length in visible(self.lake).items():
            table = path[len(self.lake) + 1:].split("/")[0]
            first, last = map(int, NAME.search(path).groups())
            numbers = set(range(first, last + 1))
            assert not seen[table] & numbers, f"{path}: blocks are there twice"
            seen[table] |= numbers
            if path not in self.read:
                body = web(path, "OPEN")
                assert len(body) == length, f"{path}: {len(body)} of {length} bytes"
                found = pq.read_table(io.BytesIO(body), columns=["block_number"]).column(0).to_pylist()
                assert set(found) <= numbers, f"{path}: other blocks"
                self.read[path] = length
            assert self.read[path] == length, f"{path} has changed"
        self.looks += 1

    def run(self):
        while not self.ended:
            try:
                self.look()
            except (OSError, urllib.error.HTTPError):
                pass  # the server is being killed
            except AssertionError as error:
                self.wrong = str(error)
                return
            time.sleep(0.2)


def state(appliance):
    return next(view for view in appliance.get("/v1/exporters")[1]["exporters"] if view["name"] == "lake")


def manifests(lake):
    """All runs that the newest manifest of each date names."""
    runs = []
    base = f"{lake}/_headwater/manifest/chain_id=1337"
    for date in entries(base):
        newest = max(entry["pathSuffix"] for entry in entries(f"{base}/{date['pathSuffix']}"))
        manifest = json.loads(web(f"{base}/{date['pathSuffix']}/{newest}", "OPEN"))
        if "begun" in manifest:
            return []
        runs += manifest["runs"]
    return sorted(runs, key=lambda run: run["blocks"]["first"])


def fault(appliance, rng):
    """Something happens to the cluster while the appliance runs."""
    names = ["nn", "dn1"] + (["nn2"] if HA else [])
    name, how = rng.choice(names), rng.choice(["kill", "pause"])
    before = state(appliance)["exported_lsn"]
    head = appliance.head()[0]
    if HA and name.startswith("nn"):
        # Failover by hand, as an operator's controller would do it.
        hdfs(how, name)
        time.sleep(2)
        other = "nn2" if name == "nn" else "nn"
        subprocess.run(["bash", servers / "hdfs/server.sh", "ha", work, "-failover", "--forcefence", name, other],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(3)
        hdfs("kill", name)
        hdfs("start", name)
    else:
        hdfs(how, name)
        time.sleep(rng.uniform(2, 8))
        assert appliance.head()[0] > head, "capture waits for the sink"
        hdfs("start" if how == "kill" else "resume", name)
    until(f"it to go on after {how} of {name}", lambda: state(appliance)["exported_lsn"] > before, 240)
    return f"{how} {name}"


def main():
    rng = random.Random(SEED)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-hdfs-"))
    hdfs("start")
    lake = f"/proof-{int(time.time())}"
    port = free_port()
    node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "100ms", "--finality", "16",
                   "--reorg-every", "7", "--reorg-depth", "5", "--transactions", "4")
    url = f"hdfs://{'ha' if HA else '127.0.0.1:9000'}{lake}"
    config = configure(folder, f"http://127.0.0.1:{port}", f"""[[exporter]]
name = "lake"
kind = "hdfs"
url = "{url}"
conf_dir = "{work}/conf"
user = "headwater"
max_wait_secs = 1
takeover_secs = 2
call_timeout_secs = 5
""", part_blocks=20)
    hdfs("cli", "-mkdir", "-p", lake)
    hdfs("cli", "-chown", "headwater", lake)
    watch = Watch(lake)
    watch.start()
    places = collections.Counter()
    for turn in range(ENDS):
        step = STEPS[turn] if turn < len(STEPS) else rng.choice([*STEPS, "kill", "fault", "fault"])
        if step in STEPS:
            os.environ["HEADWATER_ABORT_AT"] = f"{step}:{rng.randrange(4)}"
        appliance = Appliance(folder, "--config", config)
        os.environ.pop("HEADWATER_ABORT_AT", None)
        if step in STEPS:
            code = appliance.process.wait(120)
            assert code == -6, f"it did not end at {step}, but with {code}: see {appliance.log.name}"
        elif step == "fault":
            until("a cursor", lambda: state(appliance)["state"] == "running", 120)
            step = fault(appliance, rng)
            appliance.kill()
        else:
            time.sleep(0.5 + rng.random() * 4)
            appliance.kill()
        places[step] += 1
        assert watch.wrong is None, watch.wrong
        print(f"ended at {step}; {len(watch.read)} files seen so far", flush=True)
    print("ended:", dict(places))
    appliance = Appliance(folder, "--config", config)
    target = appliance.head()[0] + 40 if appliance.head() else 200
    until("some more", lambda: appliance.head() and appliance.head()[0] > target, 240)
    node.kill()
    parts = lambda: sorted((appliance.data / "parts/blocks/chain_id=1337").glob("*/*.parquet"))

    def held():
        runs = manifests(lake)
        last = max((int(NAME.search(path.name).group(2)) for path in parts()), default=0)
        return runs and runs[-1]["blocks"]["last"] >= last and state(appliance)["state"] == "running"

    until("the last sealed run", held, 240)
    time.sleep(2)
    runs = manifests(lake)
    last = runs[-1]["blocks"]["last"]
    covered = [number for run in runs for number in range(run["blocks"]["first"], run["blocks"]["last"] + 1)]
    assert covered == list(range(0, last + 1)), "the manifest has holes or doubles"
    files = [file for run in runs for file in run["files"]]
    found = visible(lake)
    assert {f"{lake}/{file['path']}": file["bytes"] for file in files} == found, "the manifest is not what is there"
    for before, after in zip(runs, runs[1:]):
        assert before["last_hash"] == after["parent_hash"], "runs do not link"
    watch.ended = True
    watch.join()
    watch.look()
    assert watch.wrong is None, watch.wrong
    some = rng.sample(files, min(12, len(files)))
    told = hdfs("cli", "-Ddfs.checksum.combine.mode=COMPOSITE_CRC", "-checksum", *(f"{lake}/{file['path']}" for file in some), capture=True)
    theirs = {line.split()[0]: line.split()[-1] for line in told.splitlines() if "COMPOSITE" in line}
    for file in some:
        assert theirs[f"{lake}/{file['path']}"].endswith(file["crc32c"]), (file, theirs)
    print(f"{len(found)} files in {len(runs)} runs, blocks 0 to {last}; {len(some)} checksums are the ones that HDFS computes; "
          f"{watch.looks} looks at the lake")
    # Nothing is open, nothing is damaged, nothing temporary is left but for the one that runs.
    open_files = hdfs("java", "org.apache.hadoop.hdfs.tools.DFSck", lake, "-openforwrite", capture=True)
    assert "Status: HEALTHY" in open_files, open_files[-400:]
    for table, columns in [("blocks", "sum(gas_used)"), ("transactions", "sum(nonce)"), ("logs", "sum(log_index)"), ("chain_events", "sum(lsn)")]:
        ours = appliance.sql(f"select count(*) as n, {columns} as s from {table} where block_number <= {last}")[0]
        total = sum(file["rows"] for file in files if file["table"] == table)
        if table != "chain_events":
            assert ours["n"] == total, f"{table}: {ours['n']} rows in SQL, {total} in the manifest"
        statement = f"select count(*) as n, {columns} as s from {table}"
        line = subprocess.run(["bash", servers / "spark/server.sh", "sql", spark_work, f"hdfs://127.0.0.1:9000{lake}", statement],
                              check=True, text=True, stdout=subprocess.PIPE).stdout
        theirs = json.loads(line.splitlines()[-1])
        assert theirs == ours, f"{table}: Spark {theirs}, our SQL {ours}"
        print(f"{table}: Spark finds {theirs}, as our SQL does")
    dates = sorted({file["path"].split("/date=")[1].split("/")[0] for file in files})
    line = subprocess.run(["bash", servers / "spark/server.sh", "explain", spark_work, f"hdfs://127.0.0.1:9000{lake}",
                           f"select count(*) from logs where chain_id = 1337 and date = '{dates[-1]}' and block_number > {last - 10}"],
                          check=True, text=True, stdout=subprocess.PIPE).stdout
    print("Spark:", line.strip()[:600], f"of dates {dates}")
    appliance.terminate()
    left = entries(f"{lake}/_headwater/tmp")
    print(f"{len(left)} folders of temporary files of processes that were killed, swept after a day")
    hdfs("stop")
    print("OK: hdfs")


main()
