"""What a cluster refuses is told apart and named with its fix, and what is mended goes on: address, rights, quota, safe mode,
a file in the way, a part that no manifest names, another chain's lake. Files that vanish come again. Two nodes fill one lake.

usage: hdfs_refusals.py HDFS_WORKDIR
"""
import pathlib
import subprocess
import sys
import tempfile
import time

from appliance import PROGRAM, Appliance, Program, configure, free_port, until
from lake import NAME, Cluster, Watch, entries, manifests, state, visible

hdfs = Cluster(sys.argv[1])
WORK = sys.argv[1]


def exporter(name, url, user="headwater", more=""):
    return (f'[[exporter]]\nname = "{name}"\nkind = "hdfs"\nurl = "{url}"\nconf_dir = "{WORK}/conf"\nuser = "{user}"\n'
            f"max_wait_secs = 1\ntakeover_secs = 2\ncall_timeout_secs = 3\n{more}")


def devnet(folder, name, *more):
    port = free_port()
    Program(folder, name, "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "100ms", "--finality", "8", "--transactions", "2", *more)
    return f"http://127.0.0.1:{port}"


def blocked(appliance, name, words, state_wanted="blocked"):
    """It says why it waits; capture goes on."""
    view = until(f"{name} to be {state_wanted}", lambda: next(
        (view for view in [state(appliance, name)] if view["state"] == state_wanted and view["reason"]), None), 60)
    for word in words:
        assert word in view["reason"], (name, word, view["reason"])
    head = appliance.head()[0]
    until("capture to go on", lambda: appliance.head()[0] > head, 20)
    print(f"{name}: {state_wanted}: {view['reason'][:170]}", flush=True)


def goes_on(appliance, name):
    until(f"{name} to go on", lambda: state(appliance, name)["state"] == "running" and state(appliance, name)["exported_lsn"] > 20, 120)


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-refusals-"))
    hdfs("start")
    base = f"/refusals-{int(time.time())}"
    at = lambda name: f"hdfs://127.0.0.1:9000{base}/{name}"
    hdfs("cli", "-mkdir", "-p", *(f"{base}/{name}" for name in ["denied", "quota", "names", "way", "safe", "stray", "shared", "lost"]))
    hdfs("cli", "-chown", "-R", "headwater", base)
    hdfs("cli", "-chown", "somebody", f"{base}/denied")
    hdfs("admin", "-setSpaceQuota", "3m", f"{base}/quota")
    hdfs("admin", "-setQuota", "6", f"{base}/names")
    hdfs("cli", "-touchz", f"{base}/way/lake")
    stray = f"{base}/stray/blocks/chain_id=1337/date=2026-11-27"
    config = configure(folder / "one", devnet(folder, "node", "--timestamp-step", "1"), "".join([
        exporter("away", "hdfs://127.0.0.1:1/lake"),
        exporter("denied", at("denied")),
        exporter("quota", at("quota")),
        exporter("names", at("names")),
        exporter("way", at("way/lake")),
        exporter("safe", at("safe")),
        exporter("lost", at("lost")),
    ]), part_blocks=20)
    checked = subprocess.run([PROGRAM, "exporters", "check", "--config", config], text=True, capture_output=True, timeout=120)
    print(checked.stdout.strip())
    assert "Connection refused" in checked.stdout and "is a file where the lake wants a folder" in checked.stdout and checked.returncode != 0
    appliance = Appliance(folder / "one", "--config", config)
    blocked(appliance, "away", ["127.0.0.1:1", "refused"], "retrying")
    blocked(appliance, "denied", ["AccessControlException", "user=headwater", "-chown"])
    blocked(appliance, "quota", ["DSQuotaExceededException", "-setSpaceQuota"])
    blocked(appliance, "names", ["NSQuotaExceededException", "-setQuota"])
    blocked(appliance, "way", ["is a file", "move it away"])
    goes_on(appliance, "safe")
    hdfs("admin", "-safemode", "enter")
    blocked(appliance, "safe", ["SafeModeException", "safe mode"], "retrying")
    hdfs("admin", "-safemode", "leave")
    hdfs("cli", "-chmod", "777", f"{base}/denied")
    hdfs("admin", "-clrSpaceQuota", f"{base}/quota")
    hdfs("admin", "-clrQuota", f"{base}/names")
    hdfs("cli", "-rm", f"{base}/way/lake")
    for name in ["denied", "quota", "names", "way", "safe"]:
        goes_on(appliance, name)
    print("what was mended goes on")

    # Files that somebody removes or cuts come again after a rewind; no other file changes.
    goes_on(appliance, "lost")
    lake = f"{base}/lost"
    run = until("two runs", lambda: (runs := manifests(lake)) and len(runs) >= 2 and runs[0])
    before = {entry["pathSuffix"]: entry["modificationTime"] for path in {p.rsplit("/", 1)[0] for p in visible(lake)} for entry in entries(path)}
    gone, cut = f"{lake}/{run['files'][0]['path']}", f"{lake}/{run['files'][1]['path']}"
    hdfs("cli", "-rm", "-skipTrash", gone)
    hdfs("cli", "-truncate", "-w", "100", cut)
    told = subprocess.run([PROGRAM, "exporters", "rewind", "lost", "--to-block", "0", "--data-dir", appliance.data], text=True, capture_output=True)
    assert told.returncode == 0, told
    whole = lambda: all(visible(lake).get(f"{lake}/{file['path']}") == file["bytes"] for run in manifests(lake) or [{"files": [{"path": "?", "bytes": 0}]}] for file in run["files"])
    until("the files to come again", whole, 60)
    after = {entry["pathSuffix"]: entry["modificationTime"] for path in {p.rsplit("/", 1)[0] for p in visible(lake)} for entry in entries(path)}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {gone.rsplit("/", 1)[1], cut.rsplit("/", 1)[1]}, changed
    print("files that vanished or were cut came again; no other file was touched")
    record = subprocess.run([PROGRAM, "exporters", "explain", "lost", "--block", "5", "--data-dir", appliance.data], text=True, capture_output=True)
    assert "blocks-000000000000-" in record.stdout and '"is_held":true' in record.stdout, record
    appliance.terminate()

    # A part that no manifest names, and the lake of another chain with the same id.
    hdfs("cli", "-mkdir", "-p", stray)
    some = next(path for path in visible(lake) if "/blocks/" in path)
    first, last = NAME.search(some).groups()
    day = some.split("/date=")[1][:10]
    stray = f"{base}/stray/blocks/chain_id=1337/date={day}"
    hdfs("cli", "-mkdir", "-p", stray)
    hdfs("cli", "-cp", some, f"{stray}/blocks-{first}-{last}.parquet")
    hdfs("cli", "-chown", "-R", "headwater", f"{base}/stray")
    other = configure(folder / "two", devnet(folder, "other", "--seed", "9", "--timestamp-step", "1"),
                      exporter("stray", at("stray")) + exporter("foreign", at("lost")), part_blocks=20)
    appliance = Appliance(folder / "two", "--config", other)
    blocked(appliance, "foreign", ["another chain", "it holds block "])
    blocked(appliance, "stray", ["the manifest does not know it", f"blocks-{first}"])
    hdfs("cli", "-rm", "-skipTrash", f"{stray}/blocks-{first}-{last}.parquet")
    goes_on(appliance, "stray")
    appliance.terminate()

    # Two nodes, one lake: each block once, and when one is killed the other goes on.
    lake = f"{base}/shared"
    watch = Watch(lake)
    watch.start()
    node = devnet(folder, "shared", "--timestamp-step", "200", "--reorg-every", "9", "--reorg-depth", "3")
    nodes = [Appliance(folder / name, "--config", configure(folder / name, node, exporter("lake", at("shared")), part_blocks=blocks))
             for name, blocks in [("three", 20), ("four", 30)]]
    for turn in range(4):
        until("a run", lambda: len(manifests(lake)) > turn * 3, 120)
        victim = turn % 2
        nodes[victim].kill()
        before = len(manifests(lake))
        until("the other one to go on", lambda: len(manifests(lake)) > before + 1, 120)
        nodes[victim] = Appliance(folder / ["three", "four"][victim], "--config", folder / ["three", "four"][victim] / "headwater.toml")
        assert watch.wrong is None, watch.wrong
    runs = until("a moment of rest", lambda: manifests(lake))
    numbers = [number for run in runs for number in range(run["blocks"]["first"], run["blocks"]["last"] + 1)]
    assert numbers == list(range(len(numbers))), "holes or doubles"
    assert all(state(node)["state"] != "blocked" for node in nodes)
    watch.ended = True
    watch.join()
    assert watch.wrong is None, watch.wrong
    print(f"two nodes filled one lake with {len(runs)} runs, {len(numbers)} blocks, each once; {watch.looks} looks")
    for node in nodes:
        node.terminate()
    hdfs("stop")
    print("OK: hdfs refusals")


main()
