"""A long outage: 10,000 blocks come while all sinks are away; then all are there, and drain; in the end all hold the canonical
chain.

usage: backlog.py WORK [BLOCKS]    (in WORK: kafka, cassandra, hdfs, azurite, each the WORKDIR of its ../*/server.sh)
"""
import pathlib
import sys
import tempfile
import time

from appliance import Appliance, Program, configure, free_port, until
from sinks import SETTINGS, behind, converged, drain, exporters, server

blocks = int((sys.argv + ["10000"])[2])


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-backlog-"))
    for name in SETTINGS:
        server(name, "stop")
    port = free_port()
    run = f"backlog{int(time.time())}"
    Program(folder, "devnet", "devnet", "--listen", f"127.0.0.1:{port}", "--block-time", "0s", "--blocks", blocks, "--finality", "16",
            "--transactions", "4", "--timestamp-step", "30")
    appliance = Appliance(folder, "--config", configure(folder, f"http://127.0.0.1:{port}", exporters(run), part_blocks=500))
    began = time.monotonic()
    until("the blocks", lambda: (appliance.head() or [0])[0] >= blocks - 1, 1200)
    print(f"{blocks} blocks captured in {time.monotonic() - began:.0f} s, all sinks away", flush=True)
    for name, seconds in drain(appliance, run, 1500).items():
        print(f"{name}: had all after {seconds:.0f} s, waits included")
    until("the last blocks", lambda: not behind(appliance, run, 1), 120)
    converged(appliance, run)
    rss = int(pathlib.Path(f"/proc/{appliance.process.pid}/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
    print(f"at most {rss} MiB of memory")
    appliance.terminate()
    for name in SETTINGS:
        server(name, "stop")
    assert rss <= 512, f"{rss} MiB"
    print("OK: backlog")


main()
