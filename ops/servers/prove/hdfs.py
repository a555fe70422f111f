"""HDFS, read by Hadoop's own shell, by WebHDFS and pyarrow, and by Spark: a run with reorgs while the appliance ends at every
step and by kill -9, and NameNode and DataNode are killed and hang. At any moment every visible file is whole and no block is
there twice; in the end the lake holds what our SQL says, each file's checksum is the one that HDFS itself computes, and Spark
prunes partitions and finds the same counts and sums.

usage: hdfs.py HDFS_WORKDIR SPARK_WORKDIR [ENDS] [SEED]
"""
import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from appliance import Appliance, Program, configure, free_port, until
from lake import NAME, Cluster, Watch, entries, manifests, servers, state, visible

work, spark_work = sys.argv[1:3]
ENDS, SEED = int((sys.argv + ["20"])[3]), int((sys.argv + ["20", "1"])[4])
STEPS = ["forward.intent", "hdfs.begun", "hdfs.put", "hdfs.placed", "hdfs.renamed", "hdfs.committed", "forward.exported"]
hdfs = Cluster(work)


def spark(action, lake, statement):
    done = subprocess.run(["bash", servers / "spark/server.sh", action, spark_work, f"hdfs://127.0.0.1:9000{lake}", statement],
                          check=True, text=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def fault(appliance, rng):
    """Something happens to the cluster while the appliance runs."""
    name, how = rng.choice(["nn", "dn1"]), rng.choice(["kill", "pause"])
    before, head = state(appliance)["exported_lsn"], appliance.head()[0]
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
                   "--reorg-every", "7", "--reorg-depth", "5", "--transactions", "4", "--timestamp-step", "900")
    config = configure(folder, f"http://127.0.0.1:{port}", f"""[[exporter]]
name = "lake"
kind = "hdfs"
url = "hdfs://127.0.0.1:9000{lake}"
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
    # Runs never cross a date.
    for run in runs:
        assert len({file["path"].split("/date=")[1][:10] for file in run["files"]}) == 1
    assert {f"{lake}/{file['path']}": file["bytes"] for file in files} == found, "the manifest is not what is there"
    for before, after in zip(runs, runs[1:]):
        assert before["last_hash"] == after["parent_hash"], "runs do not link"
    watch.ended = True
    watch.join()
    watch.look()
    assert watch.wrong is None, watch.wrong
    some = rng.sample(files, min(12, len(files)))
    told = hdfs("cli", "-Ddfs.checksum.combine.mode=COMPOSITE_CRC", "-checksum", *(f"{lake}/{file['path']}" for file in some))
    theirs = {line.split()[0]: line.split()[-1] for line in told.splitlines() if "COMPOSITE" in line}
    for file in some:
        assert theirs[f"{lake}/{file['path']}"].endswith(file["crc32c"]), (file, theirs)
    print(f"{len(found)} files in {len(runs)} runs, blocks 0 to {last}; {len(some)} checksums are the ones that HDFS computes; "
          f"{watch.looks} looks at the lake")
    checked = hdfs("java", "org.apache.hadoop.hdfs.tools.DFSck", lake)
    assert "Status: HEALTHY" in checked, checked[-400:]
    for table, columns in [("blocks", "sum(gas_used)"), ("transactions", "sum(nonce)"), ("logs", "sum(log_index)"), ("chain_events", "sum(lsn)")]:
        ours = appliance.sql(f"select count(*) as n, {columns} as s from {table} where block_number <= {last}")[0]
        total = sum(file["rows"] for file in files if file["table"] == table)
        if table != "chain_events":
            assert ours["n"] == total, f"{table}: {ours['n']} rows in SQL, {total} in the manifest"
        theirs = spark("sql", lake, f"select count(*) as n, {columns} as s from {table}")
        assert theirs == ours, f"{table}: Spark {theirs}, our SQL {ours}"
        print(f"{table}: Spark finds {theirs}, as our SQL does")
    dates = sorted({file["path"].split("/date=")[1].split("/")[0] for file in files})
    assert len(dates) >= 3, dates
    plan = spark("explain", lake, f"select count(*) from logs where chain_id = 1337 and date = '{dates[1]}'")["scans"][0]
    wanted = [file for file in files if file["table"] == "logs" and f"/date={dates[1]}/" in file["path"]]
    assert (plan["files"], plan["partitions"]) == (len(wanted), 1), plan
    print(f"of {len(dates)} dates Spark reads one: {plan['files']} of {sum(f['table'] == 'logs' for f in files)} files, {plan['rows']} rows")
    appliance.terminate()
    left = entries(f"{lake}/_headwater/tmp")
    print(f"{len(left)} folders of temporary files of processes that were killed, swept after a day")
    hdfs("stop")
    print("OK: hdfs")


main()
