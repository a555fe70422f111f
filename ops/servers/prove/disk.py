"""A disk of its own (tmpfs, so it needs root): filled to the last byte by a foreign file while blocks come, again and
again; and a start on it while it is read-only. Nothing that counted is lost, queries go on, capture goes on by itself within
5 s, every block is proved again at the end, and the sink has the chain.

usage: disk.py
"""
import json
import os
import pathlib
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from appliance import PROGRAM, Program, free_port, rpc, until

ROUNDS = 3
RESUME_SECONDS = 5

if os.geteuid() != 0:
    raise SystemExit("SKIPPED: only root can mount a disk of its own")

folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-disk-"))
mount = folder / "disk"
mount.mkdir()


def mounted(*options):
    subprocess.run(["mount", *options, str(mount)], check=True)


mounted("-t", "tmpfs", "-o", "size=200m", "tmpfs")
port, listen = free_port(), free_port()
url, api = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{listen}"
sink = folder / "sink.ndjson"
(folder / "headwater.toml").write_text(f"""
data_dir = "{mount}/data"
[http]
listen = "127.0.0.1:{listen}"
[disk]
min_free_bytes = 16000000
reserve_bytes = 8000000
[[chain]]
name = "devnet"
chain_id = 1337
start = 0
poll_ms = 50
part_blocks = 20
log_segment_bytes = 4000000
[[chain.provider]]
name = "p0"
url = "{url}"
[[exporter]]
name = "file"
kind = "memory"
path = "{sink}"
""")
node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "100ms", "--finality", 10,
               "--reorg-every", 25, "--reorg-depth", 3, "--blocks", 40)


def get(path):
    try:
        with urllib.request.urlopen(api + path, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
    except OSError:
        return None


def durable():
    status = get("/v1/status")
    return status and status["chains"][0]["durable_lsn"]


def count():
    request = urllib.request.Request(api + "/v1/sql?format=json", b"select count(*) as n from blocks")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["rows"][0]


def problem():
    ready = get("/readyz")
    return ready and " ".join(reason["reason"] for reason in ready.get("reasons", []))


def goes_on(what):
    before, started = durable(), time.monotonic()
    until(f"capture after {what}", lambda: (durable() or 0) > before, 60)
    seconds = time.monotonic() - started
    print(f"{what}: capture goes on after {seconds:.1f} s", flush=True)
    if seconds > RESUME_SECONDS:
        raise SystemExit(f"FAILED: that is more than {RESUME_SECONDS} s")


appliance = Program(folder, "appliance", "run", "--config", folder / "headwater.toml")
until("the first blocks", lambda: (durable() or 0) > 60)
for round in range(ROUNDS):
    with open(mount / "foreign", "wb", buffering=0) as foreign:
        try:
            while True:
                foreign.write(bytes(1 << 16))
        except OSError:
            pass
    reason = until("the pause", lambda: "disk is full" in (problem() or "") and problem(), 20)
    told, rows = durable(), count()
    time.sleep(3)
    if durable() != told or appliance.process.poll() is not None:
        raise SystemExit(f"FAILED: {durable()} after {told} while the disk is full, or the process ended")
    print(f"round {round}: paused at record {told} ({reason}); SQL answers {rows}", flush=True)
    (mount / "foreign").unlink()
    goes_on("a full disk")

# The kernel lets nobody make a disk read-only while it is written; a node meets it at its start.
appliance.terminate()
mounted("-o", "remount,ro")
refused = subprocess.run([PROGRAM, "run", "--config", folder / "headwater.toml"], capture_output=True, text=True)
if refused.returncode != 4 or "Read-only file system" not in refused.stderr:
    raise SystemExit(f"FAILED: a start on a read-only disk: {refused.returncode} {refused.stderr}")
print("a start on a read-only disk:", refused.stderr.strip().splitlines()[-1], flush=True)
mounted("-o", "remount,rw")

appliance = Program(folder, "appliance", "run", "--config", folder / "headwater.toml")
until("it to run again", durable)
goes_on("a restart")
node.kill()
until("the exporter", lambda: all(view["lag"] == 0 for view in get("/v1/exporters")["exporters"]))
head = get("/v1/status")["chains"][0]["head"]["number"]
appliance.terminate()
report = subprocess.run([PROGRAM, "verify", "--data-dir", mount / "data", "--json"], capture_output=True, text=True)
found = json.loads(report.stdout)["report"]
print("verified:", {key: value for key, value in found.items()}, flush=True)
chain = {}
seen = set()
for line in sink.read_text().splitlines():
    row = json.loads(line)
    if row["table"] != "blocks" or row["event_id"] in seen:
        continue
    seen.add(row["event_id"])
    number = row["row"]["block_number"]
    if row["op"] == "applied":
        chain[number] = row["row"]["block_hash"]
    elif chain.get(number) == row["row"]["block_hash"]:
        del chain[number]
answer = subprocess.run([PROGRAM, "sql", "--format", "ndjson", "--data-dir", mount / "data",
                         "select block_number as n, to_hex0x(block_hash) as h from blocks order by 1"],
                        check=True, capture_output=True, text=True).stdout
ours = {row["n"]: row["h"] for row in map(json.loads, answer.splitlines())}
subprocess.run(["umount", str(mount)], check=True)
if report.returncode != 0 or found["blocks"] != head + 1 or ours != chain or len(ours) != head + 1:
    raise SystemExit(f"FAILED: {head + 1} blocks, {len(ours)} in SQL, {len(chain)} in the sink, verify {report.returncode}")
print(f"PASSED: {head + 1} blocks, each proved again, the same in SQL and the sink")
