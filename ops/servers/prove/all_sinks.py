"""All sinks at once on real blocks: Kafka (exactly once), Cassandra, HDFS and Azure Tables are killed, or hang, at random while the
head is followed; capture never lags more than two seconds, the process stays below 512 MiB, and in the end all sinks hold the
canonical chain. Then all are away while more blocks come, and drain at ten times the head's rate.

usage: all_sinks.py WORK [MINUTES [AWAY_MINUTES]]    (in WORK: kafka, cassandra, hdfs, azurite, each the WORKDIR of its ../*/server.sh)
HEADWATER_CHAIN_DATA: the recorded blocks; without them a synthetic chain is followed.
"""
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

from appliance import ROOT, Appliance, Program, configure, free_port, rpc, until
from sinks import SETTINGS, away, back, behind, converged, drain, exporters, server

minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 30
away_minutes = float(sys.argv[3]) if len(sys.argv) > 3 else 2
BLOCK_SECS = 2


class Watch(threading.Thread):
    """How long after the node has a block the appliance has it, and what memory it takes."""

    def __init__(self, appliance, url):
        super().__init__(daemon=True)
        self.appliance, self.url = appliance, url
        self.lags, self.rss, self.ended = [], 0, False

    def run(self):
        known, waiting = 0, {}
        while not self.ended:
            now = time.monotonic()
            try:
                number = int(rpc(self.url, "eth_blockNumber"), 16)
                head = self.appliance.head()
            except OSError:
                continue
            for block in range(known + 1, number + 1):
                waiting[block] = now
            known = max(known, number)
            for block in [block for block in waiting if head and block <= head[0]]:
                self.lags.append(time.monotonic() - waiting.pop(block))
            status = pathlib.Path(f"/proc/{self.appliance.process.pid}/status").read_text()
            self.rss = max(self.rss, int(status.split("VmRSS:")[1].split()[0]) // 1024)
            time.sleep(0.05)


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-all-"))
    for name in SETTINGS:
        server(name, "start")
    run = f"all{int(time.time())}"
    data = pathlib.Path(os.environ.get("HEADWATER_CHAIN_DATA", ROOT.parent / "shared/data")) / "rpc/ethereum"
    replay = ["--replay", data] if data.is_dir() else ["--transactions", "150"]
    print("blocks:", "recorded ones of mainnet" if data.is_dir() else "synthetic: no recorded chain data")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    node = Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", f"{BLOCK_SECS}s", "--finality", "16",
                   "--reorg-every", "15", "--reorg-depth", "3", *replay)
    config = configure(folder, url, exporters(run), part_blocks=20)
    appliance = Appliance(folder, "--config", config)
    until("all sinks to run", lambda: not behind(appliance, run, 10), 240)
    watch = Watch(appliance, url)
    watch.start()
    end, outages = time.monotonic() + minutes * 60, 0
    while time.monotonic() < end:
        name = random.choice(list(SETTINGS))
        away(name)
        time.sleep(3 + random.random() * 12)
        back(name)
        outages += 1
        time.sleep(random.random() * 8)
    until("all to catch up", lambda: not behind(appliance, run, 10), 300)
    worst = max(watch.lags)
    print(f"{minutes:g} minutes, {outages} outages: {len(watch.lags)} blocks, worst lag of the head {worst:.2f} s, RSS at most {watch.rss} MiB")

    # All away; then the backlog drains.
    for name in SETTINGS:
        away(name)
    start = appliance.head()[0]
    time.sleep(away_minutes * 60)
    print(f"{away_minutes:g} minutes with all away: {appliance.head()[0] - start} blocks came, worst lag of the head {max(watch.lags):.2f} s")
    rates = {}
    for name, seconds in drain(appliance, run, max(600, away_minutes * 60)).items():
        # What came while it drained counts: it went too.
        rates[name] = (away_minutes * 60 + seconds) / max(seconds, 0.1)
        print(f"{name}: had all after {seconds:.1f} s, {rates[name]:.0f} times the head's rate, waits included")
    watch.ended = True
    node.kill()
    until("the last blocks", lambda: not behind(appliance, run, 1), 120)
    time.sleep(1)
    converged(appliance, run)
    rss, worst = watch.rss, max(watch.lags)
    print(f"in the end RSS at most {rss} MiB, worst lag of the head {worst:.2f} s")
    appliance.terminate()
    for name in SETTINGS:
        server(name, "stop")
    assert worst <= 2.0, f"the head lagged {worst:.2f} s"
    assert rss <= 512, f"{rss} MiB"
    assert min(rates.values()) >= 10, f"drained at {min(rates.values()):.1f} times the head's rate"
    print("OK")


main()
